"""What starts an execution: the parameters of the trigger `webhook`, as a workflow's trigger node holds them."""

from flowker.executors.shapes import FILLED, TEXT, Shape, document

WEBHOOK_SCHEMA: Shape = document(
    {
        "path": {**FILLED, "description": "The path of the webhook below /v1/webhooks."},
        "method": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
        "verify_token": {**TEXT, "description": "What a sender has to give in X-Webhook-Token."},
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
