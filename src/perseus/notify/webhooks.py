"""The webhooks to send to, as `perseus.webhooks` reads them from the settings (which know nothing of `notify`)."""

from perseus.webhooks import Webhook, parse_webhooks

__all__ = ["Webhook", "parse_webhooks"]
