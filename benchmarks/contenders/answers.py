"""What contenders answer that store nothing: as long as what Flowker answers."""

ANSWER = {
    "executionId": "f7e6d5c4-b3a2-1098-7654-321fedcba098",
    "workflowId": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "status": "running",
    "startedAt": "2026-03-17T14:35:00.000000Z",
}
