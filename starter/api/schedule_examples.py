"""Example responses of the schedule routes, for the OpenAPI document."""

from http import HTTPStatus

from commerce.errors import JobInProgress, ScheduleNotFound
from starter.api.errors import Responses, error_examples, json_example

JOB = "sync-inventory"
NOT_FOUND = error_examples(
    HTTPStatus.NOT_FOUND,
    "There is no such schedule",
    ScheduleNotFound("sync-stock", known="collect-analytics-data, sync-inventory"),
)
LIST_RESPONSES: Responses = {
    200: json_example(
        {
            "schedules": [
                {
                    "id": JOB,
                    "cron": "0 */6 * * *",
                    "zone": "UTC",
                    "paused": False,
                    "note": "",
                    "next_runs": ["2026-03-02T18:00:00Z"],
                    "last_runs": [
                        {
                            "nominal_time": "2026-03-02T12:00:00Z",
                            "started_at": "2026-03-02T12:00:00Z",
                            "process": f"{JOB}-2026-03-02T12:00:00Z",
                            "run_id": "0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11",
                            "status": "completed",
                        }
                    ],
                    "running": [],
                    "edited": [],
                }
            ]
        },
        "The schedules, sorted by id",
    )
}
TRIGGER_RESPONSES: Responses = {
    202: json_example({"id": JOB, "transaction_id": f"{JOB}-2026-03-02T12:34:56Z"}, "The job was started"),
    **NOT_FOUND,
    **error_examples(
        HTTPStatus.CONFLICT, "The job is already running", JobInProgress(JOB, f"{JOB}-2026-03-02T12:00:00Z")
    ),
}
PAUSE_RESPONSES: Responses = {
    200: json_example({"id": JOB, "paused": True, "reason": "The warehouse is moving"}, "The schedule is paused"),
    **NOT_FOUND,
}
RESUME_RESPONSES: Responses = {
    200: json_example({"id": JOB, "paused": False, "reason": "The warehouse has moved"}, "The schedule is active"),
    **NOT_FOUND,
}
BACKFILL_RESPONSES: Responses = {
    202: json_example(
        {"id": JOB, "nominal_times": ["2026-03-01T00:00:00Z", "2026-03-01T06:00:00Z"]},
        "The nominal times that the job was started for",
    ),
    **NOT_FOUND,
}
