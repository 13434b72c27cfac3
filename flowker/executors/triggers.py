"""What starts an execution: the parameters of the trigger `webhook`, as a workflow's trigger node holds them."""

from flowker.executors.shapes import FILLED, Shape, document

WEBHOOK_SCHEMA: Shape = document(
    {
        "path": {**FILLED, "description": "The path of the webhook below /v1/webhooks."},
        "method": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
        "verify_token": {**FILLED, "maxLength": 512, "description": "What a sender has to give in X-Webhook-Token."},
        "signing_secret": {
            "type": "string",
            "minLength": 16,
            "maxLength": 512,
            "description": "What a sender signs the body with, in X-Webhook-Signature.",
        },
        "responseMode": {
            "enum": ["async", "sync"],
            "default": "async",
            "description": "Whether the answer waits for the end of the execution.",
        },
        "responseTimeout": {
            "type": "number",
            "minimum": 1,
            "maximum": 30,
            "default": 10,
            "description": "How many seconds the answer waits at most.",
        },
    },
    ["path", "method"],
)
