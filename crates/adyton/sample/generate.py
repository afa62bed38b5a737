#!/usr/bin/env python3
"""Writes sample.mbox: three years of an invented person's mail.

    python3 generate.py

Everybody and every place in it is made up; all addresses are at example.com and
example.org. The output depends on this folder alone (no clock, no random
numbers, no compression library), so a second run changes nothing. Standard
library only. The letters are in letters.py, what arrives by itself (receipts,
newsletters, notices) in series.py.
"""

import base64
import binascii
import struct
import zlib
from datetime import datetime, timedelta, timezone
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage, MIMEPart
from email.utils import format_datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
POLICY = policy.EmailPolicy(utf8=False, linesep="\n", max_line_length=78, cte_type="8bit")

OWNER = ("Nora Hale", "nora.hale@example.org")
STUDIO = ("Nora Hale Translations", "nora@halestudio.example.com")
OWN = {OWNER[1], STUDIO[1]}


class Mailbox:
    """Collects messages, then writes them in the order of their dates."""

    def __init__(self):
        self.entries = []
        self.threads = {}
        self.count = 0

    def add(self, when, sender, to, subject, text, *, html=None, files=(), charset="utf-8",
            cte=None, key=None, reply=None, cc=(), headers=(), invite=None, inline=None):
        """One message. `reply` names the `key` of the message it answers."""
        self.count += 1
        date = datetime.strptime(when, "%Y-%m-%d %H:%M").replace(tzinfo=zone(when))
        message = EmailMessage(policy=POLICY)
        received = sender[1] not in OWN
        if received:
            message["Delivered-To"] = OWNER[1]
            host = sender[1].split("@")[1]
            stamp = format_datetime(date + timedelta(seconds=4))
            message["Received"] = f"from mx.{host} by mail.example.org with ESMTPS; {stamp}"
        message["From"] = address(sender)
        message["To"] = [address(one) for one in (to if isinstance(to, list) else [to])]
        if cc:
            message["Cc"] = [address(one) for one in cc]
        message["Subject"] = subject
        message["Date"] = format_datetime(date)
        identifier = f"{date:%Y%m%d%H%M}.{self.count:04}@{sender[1].split('@')[1]}"
        message["Message-ID"] = f"<{identifier}>"
        if reply:
            parents = self.threads[reply]
            message["In-Reply-To"] = f"<{parents[-1]}>"
            message["References"] = " ".join(f"<{one}>" for one in parents)
        if key:
            self.threads[key] = [*(self.threads[reply] if reply else []), identifier]
        for name, value in headers:
            message[name] = value

        fill_text(message, text, charset, cte)
        if html is not None:
            message.add_alternative(html, subtype="html", charset="utf-8", cte="quoted-printable")
        if inline is not None:
            name, data = inline
            body = message.get_payload()[-1]
            body.add_related(data, "image", "png", cid=f"<{name}>", filename=name)
        if invite is not None:
            method, calendar = invite
            if not message.is_multipart():
                message.make_alternative()
            part = MIMEPart(policy=POLICY)
            part.set_content(calendar, subtype="calendar", charset="utf-8", cte="8bit")
            part.set_param("method", method)
            message.attach(part)
        for name, data in files:
            attach(message, name, data)
        self.write_out(date + timedelta(seconds=4), sender[1], message)

    def write_out(self, date, sender, message):
        number = 0
        for part in message.walk():
            if part.is_multipart():
                number += 1
                part.set_boundary(f"=_{self.count:04}_{number}_example")
        self.raw(date, sender, message.as_bytes(policy=POLICY))

    def raw(self, date, sender, data):
        """A message as bytes, right or wrong."""
        order = len(self.entries)
        self.entries.append((date.astimezone(timezone.utc), order, sender, data))

    def bytes(self):
        out = []
        for date, _, sender, data in sorted(self.entries, key=lambda entry: entry[:2]):
            out.append(f"From {sender} {date:%a %b} {date.day:2} {date:%H:%M:%S %Y}\n".encode())
            for line in data.split(b"\n"):
                quoted = line.lstrip(b">").startswith(b"From ")
                out.append((b">" if quoted else b"") + line + b"\n")
            out.append(b"\n" if not data.endswith(b"\n") else b"")
        return b"".join(out)


def zone(when):
    """Central European time without its changing days: winter is November to March."""
    month = int(when[5:7])
    return timezone(timedelta(hours=1 if month in (11, 12, 1, 2, 3) else 2))


def address(person):
    name, mail = person
    local, domain = mail.split("@")
    return Address(name, local, domain)


def fill_text(message, text, charset, cte):
    if charset in ("utf-8", "us-ascii"):
        if cte is None:
            cte = "7bit" if text.isascii() else "quoted-printable"
        message.set_content(text, charset=charset, cte=cte)
        return
    # By hand: the library would turn some of these charsets into others.
    data = text.encode(charset)
    message["MIME-Version"] = "1.0"
    message["Content-Type"] = f'text/plain; charset="{charset}"'
    if cte == "base64":
        message["Content-Transfer-Encoding"] = "base64"
        message.set_payload(base64.encodebytes(data).decode())
    elif cte == "quoted-printable":
        message["Content-Transfer-Encoding"] = "quoted-printable"
        lines = (binascii.b2a_qp(line, istext=False).decode() for line in data.split(b"\n"))
        message.set_payload("\n".join(lines))
    else:
        message["Content-Transfer-Encoding"] = "7bit" if data.isascii() else "8bit"
        message.set_payload(data.decode("ascii", "surrogateescape"))


def attach(message, name, data):
    kinds = {"pdf": ("application", "pdf"), "png": ("image", "png"), "zip": ("application", "zip")}
    ending = name.rsplit(".", 1)[-1]
    if isinstance(data, str):
        subtype = {"csv": "csv", "html": "html", "vcf": "vcard", "ics": "calendar"}.get(ending, "plain")
        message.add_attachment(data, subtype=subtype, charset="utf-8", cte="base64", filename=name)
    elif isinstance(data, EmailMessage):
        message.add_attachment(data)
    else:
        maintype, subtype = kinds[ending]
        message.add_attachment(data, maintype=maintype, subtype=subtype, filename=name)


def pdf(title, lines):
    """A one-page PDF with text, uncompressed."""
    def escaped(text):
        return text.encode("cp1252", "replace").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")

    content = b"BT /F1 18 Tf 60 780 Td (" + escaped(title) + b") Tj /F1 11 Tf 0 -32 Td 16 TL\n"
    content += b"".join(b"(" + escaped(line) + b") Tj T*\n" for line in lines) + b"ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)


def picture(seed, size=104):
    """A small PNG: soft hills under a sky, different for each seed. Stored, not compressed."""
    def shade(x, y):
        hill = (x * (seed % 7 + 2) // 9 + (seed * 13) % size + (x * x) // (size + seed % 5)) % size
        if y > size - hill // 2 - 6:
            return bytes((60 + seed * 17 % 60, 110 + y % 50, 70 + seed * 5 % 40))
        return bytes((150 + y % 90, 180 + (seed * 3 + y) % 60, 225))

    rows = b"".join(b"\0" + b"".join(shade(x, y) for x in range(size)) for y in range(size))
    stored = b"\x78\x01" + b"\x01" + struct.pack("<HH", len(rows), 0xFFFF - len(rows)) + rows
    stored += struct.pack(">I", zlib.adler32(rows))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", stored) + chunk(b"IEND", b"")


def calendar(method, uid, start, end, summary, place, organizer, attendee, status="NEEDS-ACTION"):
    lines = [
        "BEGIN:VCALENDAR", "PRODID:-//Example//Calendar 2.0//EN", "VERSION:2.0", f"METHOD:{method}",
        "BEGIN:VEVENT", f"UID:{uid}@example.org", f"DTSTAMP:{start}", f"DTSTART:{start}", f"DTEND:{end}",
        f"SUMMARY:{summary}", f"LOCATION:{place}", f"ORGANIZER:mailto:{organizer}",
        f"ATTENDEE;PARTSTAT={status}:mailto:{attendee}", "END:VEVENT", "END:VCALENDAR",
    ]
    return method, "\r\n".join(lines) + "\r\n"


def main():
    import letters
    import series

    mailbox = Mailbox()
    letters.write(mailbox)
    series.write(mailbox)
    data = mailbox.bytes()
    (HERE / "sample.mbox").write_bytes(data)
    print(f"{len(mailbox.entries)} messages, {len(data):,} bytes")


if __name__ == "__main__":
    main()
