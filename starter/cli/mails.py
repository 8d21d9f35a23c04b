"""The commands `commerce mails …`: see mails and alerts, and send them again."""

from typing import Annotated

import typer

from commerce.messages.record_views import NotificationStatus
from starter.cli.shared import AsJson, DataDir, out, print_line, print_result, query_shop, run_in_transaction
from starter.cli.tables import Column, moment_text, print_fact, print_table, time_text

LISTED = (
    Column("key"),
    Column("status", styled=True),
    Column("to", 2, flexible=True),
    Column("tries", 4, right=True),
    Column("queued", 1),
    Column("error", 3, flexible=True),
)

mails_app = typer.Typer(help="Mails to customers and alerts to admins.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(metavar="KEY", help="Key of the mail, such as order-shipped/1001")]


@mails_app.command("list")
def list_mails(
    status: Annotated[NotificationStatus | None, typer.Option(help="unsent is all but sent")] = None,
    order: Annotated[str | None, typer.Option(help="Only those about the order with this id")] = None,
    limit: Annotated[int, typer.Option(help="Maximum number, 1 to 200")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Continue after the mail with this key")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List mails and alerts, last one first. Recipients are masked."""
    from commerce.queries import records

    page, settings = query_shop(
        data_dir,
        lambda tx, _settings: records.list_notifications(tx, status=status, order_id=order, limit=limit, cursor=cursor),
    )
    if as_json:
        out.print_json(page.model_dump_json())
        return
    if page.notifications:
        rows = [
            (
                mail.key,
                mail.status,
                mail.recipient,
                f"{mail.attempts:,}",
                time_text(mail.created_at, settings.zone),
                mail.error or "",
            )
            for mail in page.notifications
        ]
        print_table(LISTED, rows)
    else:
        print_line("No mails found")
    if page.next_cursor:
        print_line(f"There are more: --cursor {page.next_cursor}")


@mails_app.command()
def show(key: Key, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show a mail or alert: its recipients, and why it was not sent."""
    from commerce.queries import records

    mail, settings = query_shop(data_dir, lambda tx, _settings: records.load_notification(tx, key))
    if as_json:
        out.print_json(mail.model_dump_json())
        return
    print_line(f"{mail.key}  {mail.status}")
    print_fact("to", mail.recipient)
    print_fact("order", mail.order_id)
    print_fact("tries", f"{mail.attempts:,}")
    print_fact("queued", moment_text(mail.created_at, settings.zone))
    print_fact("sent", moment_text(mail.sent_at, settings.zone))
    print_fact("error", mail.error)


@mails_app.command()
def resend(
    key: Key,
    reason: Annotated[str, typer.Option(help="Why; stored in the shop's own database only")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Queue a mail or alert again; a worker sends it within minutes. One that was sent before is sent as a copy."""
    from commerce import notifications

    queued = run_in_transaction(data_dir, lambda tx: notifications.resend(tx, key, reason=reason, actor=""))
    print_result({"key": queued}, f"{queued} is queued", as_json=as_json)
