"""What the routes of schedules answer, by example, for the OpenAPI document."""

from http import HTTPStatus

from starter.api.errors import Responses, error_example, json_example

JOB = "sync-inventory"
NOT_FOUND = error_example(
    HTTPStatus.NOT_FOUND,
    "There is no such job",
    error="There is no schedule sync-stock (known: collect-analytics-data, sync-inventory).",
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
                }
            ]
        },
        "The jobs, by id",
    )
}
TRIGGER_RESPONSES: Responses = {
    202: json_example({"id": JOB, "transaction_id": f"{JOB}-2026-03-02T12:34:56Z"}, "It runs"),
    **NOT_FOUND,
    **error_example(HTTPStatus.CONFLICT, "It runs already", error=f"{JOB} is already running as {JOB}-2026-03-02T12:00:00Z; wait until it ends."),
}
PAUSE_RESPONSES: Responses = {
    200: json_example({"id": JOB, "paused": True, "reason": "The warehouse moves house"}, "It is paused"),
    **NOT_FOUND,
}
RESUME_RESPONSES: Responses = {
    200: json_example({"id": JOB, "paused": False, "reason": "The warehouse has moved"}, "It runs by the clock"),
    **NOT_FOUND,
}
BACKFILL_RESPONSES: Responses = {
    202: json_example(
        {"id": JOB, "nominal_times": ["2026-03-01T00:00:00Z", "2026-03-01T06:00:00Z"]}, "The times that it runs for"
    ),
    **NOT_FOUND,
}
