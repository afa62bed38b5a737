"""Reads the sample mailbox as records of social/email."""
import email, email.policy, mailbox, re, html
from email.utils import getaddresses, parsedate_to_datetime
from datetime import timezone

def text_of(message):
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return ""
    try:
        text = part.get_content()
    except (LookupError, UnicodeDecodeError):
        text = part.get_payload(decode=True).decode("utf-8", "replace")
    if part.get_content_type() == "text/html":
        text = re.sub(r"(?is)<(script|style|head).*?</\1>", " ", text)
        text = html.unescape(re.sub(r"<[^>]*>", " ", text))
    return text.strip()

def records(path):
    box = mailbox.mbox(path, factory=lambda f: email.message_from_binary_file(f, policy=email.policy.default))
    for number, message in enumerate(box):
        people = {}
        for header in ("from", "to"):
            found = getaddresses([str(message[header] or "")])
            people[header] = found[0] if found else ("", "")
        try:
            sent = parsedate_to_datetime(str(message["date"])).astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        except (TypeError, ValueError):
            sent = ""
        attachments = []
        for part in message.iter_attachments():
            name = part.get_filename() or ""
            body = ""
            if part.get_content_type() == "text/plain":
                body = part.get_content()
            attachments.append({"filename": name, "textContent": body})
        yield {
            "_id": f"mail-{number:03}", "schema": "https://common.schemas.verida.io/social/email/v0.1.0/schema.json",
            "name": str(message["subject"] or ""), "fromName": people["from"][0] or people["from"][1], "fromEmail": people["from"][1],
            "toName": people["to"][0], "toEmail": people["to"][1], "messageText": text_of(message), "sentAt": sent,
            "attachments": attachments,
        }
