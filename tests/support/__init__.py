"""What tests share: real servers, real processes, a faulty network, and waiting for a fact."""
