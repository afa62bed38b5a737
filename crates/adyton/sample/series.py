"""What arrives by itself: receipts, newsletters, tickets, notices, statements, bounces."""

from datetime import datetime, timedelta, timezone

from generate import OWNER, STUDIO, Mailbox, calendar, pdf, picture

CSS = """
  body { margin: 0; padding: 0; background: #f4f1ec; font-family: Georgia, 'Times New Roman', serif; color: #2b2b2b; }
  table { border-collapse: collapse; } .wrap { width: 600px; margin: 0 auto; background: #ffffff; }
  .pad { padding: 24px 32px; } h1 { font-size: 26px; line-height: 1.25; margin: 0 0 12px; }
  h2 { font-size: 19px; margin: 24px 0 8px; } p { font-size: 16px; line-height: 1.6; margin: 0 0 14px; }
  .muted { color: #7a756d; font-size: 13px; } .button { background: %(color)s; color: #ffffff; padding: 12px 22px;
  border-radius: 4px; text-decoration: none; display: inline-block; font-family: Helvetica, Arial, sans-serif; }
  .price { text-align: right; white-space: nowrap; } .rule { border-top: 1px solid #e2ddd4; }
  @media only screen and (max-width: 620px) { .wrap { width: 100%% !important; } .pad { padding: 16px !important; } }
"""


def page(title, color, body, footer):
    """An HTML page in the manner of mailing services: tables, styles, a hidden first line."""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style type="text/css">{CSS % {"color": color}}</style></head>
<body><div style="display:none;max-height:0;overflow:hidden">{title}&nbsp;&zwnj;&nbsp;&zwnj;&nbsp;&zwnj;</div>
<table role="presentation" width="100%"><tr><td align="center"><table role="presentation" class="wrap">
<tr><td class="pad">{body}</td></tr>
<tr><td class="pad rule"><p class="muted">{footer}</p></td></tr>
</table></td></tr></table></body></html>
"""


def paragraphs(*texts):
    return "".join(f"<p>{text}</p>\n" for text in texts)


CANAL = ("The Canal Letter", "letter@canal.example.com")
BREAD = ("Slow Bread", "hello@slowbread.example.com")
BOOKS = ("Lantern Books", "orders@lanternbooks.example.com")
RAIL = ("Lowland Rail", "tickets@rail.example.com")
BANK = ("Harbour Bank", "no-reply@harbourbank.example.com")
GROCER = ("Market & Crate", "receipts@marketcrate.example.com")
PARCEL = ("ParcelPoint", "track@parcelpoint.example.com")
RUNNERS = ("Dom Runners", "club@domrunners.example.org")
ENERGY = ("Windmill Energy", "service@windmill.example.com")
FILM = ("Nightbird Cinema", "tickets@nightbird.example.com")

CANAL_ISSUES = [
    ("2023-09-08", "Swans, scaffolding and a very small museum",
     "The scaffolding on the Magdalene bridge comes down next week, eleven months late and one swan family richer.",
     "In a former shoe shop on Twijnstraat a collector of matchboxes has opened a museum of nine square metres.",
     "Saturday: free tours of the wharf cellars at 11:00 and 14:00. Bring a jumper."),
    ("2023-10-06", "The lamplighter of Oudegracht",
     "Hugo Prins has looked after the wharf lamps for thirty-one years. We walked his round with him at dusk.",
     "The council counted bicycles again. There are more of them than of us, by a margin of forty thousand.",
     "Sunday: apple pressing in the Griftpark. They have the press, you bring the apples."),
    ("2023-11-03", "What the river archaeologists found",
     "Dredgers lifted a Roman sandal, four phones and a church collection box from the Vecht.",
     "The night market moves indoors for the winter. Dumplings stay outdoors, by popular demand.",
     "Friday: museum night, one ticket for fourteen houses."),
    ("2023-12-01", "Ice rink or no ice rink",
     "The ice rink will not return to the station square. The mayor blames electricity, the skaters blame the mayor.",
     "Seven bakeries, one almond pastry: our tasting panel disagrees with itself.",
     "Tuesday: Sinterklaas arrives by boat at the usual quay, weather and swans permitting."),
    ("2024-01-12", "A library card for everyone",
     "From February the library card is free for all ages. The late fees went quietly a year ago.",
     "Why the carillon plays film music on Thursdays: a letter from the carillonneur.",
     "Saturday: repair café. Toasters, trousers and radios."),
    ("2024-02-09", "Carnival is for other cities",
     "Our guide to leaving town for carnival, and our guide for those who stay and complain.",
     "The oldest tree of the botanical garden, a ginkgo of 1730, has been measured by laser. It grew.",
     "Wednesday: open rehearsal of the city choir. Altos wanted."),
    ("2024-03-08", "Where to see the first storks",
     "Two storks are back on the chimney of the old dairy. The webcam is also back.",
     "Rents in the inner city rose by six per cent in a year; a reader explains how she found a flat in nine weeks.",
     "Sunday: flea market at the Veemarkt hall, 250 stalls."),
    ("2024-04-05", "King's Day without regrets",
     "Children may sell on the pavement from 18:00 on the eve. Adults may only buy, and carry.",
     "A bakery moves out, a bakery moves in: the corner of Zadelstraat stays warm.",
     "Thursday: lecture on paper maps at the University Museum, with an exhibition from May: Paper Cities."),
    ("2024-05-10", "Paper Cities opens",
     "Forty cities folded, cut and printed: the exhibition Paper Cities opens at the University Museum on the 17th.",
     "The swan family of the Magdalene bridge has seven cygnets and a parking permit.",
     "Saturday: swim in the canal, the official one. The water has been tested, twice."),
    ("2024-06-07", "Long light",
     "The sun sets after ten. A map of benches that face west, drawn by our readers.",
     "The city buys back a forgotten courtyard behind Springweg. There will be a pear tree.",
     "Friday: open-air cinema on the wharf. Blankets for hire."),
    ("2024-07-05", "Closed for holidays, open for herring",
     "A list of everything that closes in July, and the three herring stalls that never do.",
     "Bicycle theft is down by a fifth. The locksmith does not know why and is not happy.",
     "All month: the carillon school plays at noon."),
    ("2024-09-06", "Back to the water",
     "The rowing club is looking for coxes below 55 kilos with a voice above that.",
     "A year of the free library card: 18,000 new readers and one stolen atlas, since returned.",
     "Saturday: harvest market, with the longest onion braid in the province."),
    ("2024-11-01", "Light on the wharf",
     "Forty artists put lamps into the cellars. Our favourite hums.",
     "The half marathon had 6,200 finishers, one proposal and no swans on the course.",
     "Friday: museum night, now with a night bus."),
    ("2025-01-10", "The year of the courtyard",
     "The courtyard behind Springweg opens in April. The pear tree is already there, the path is not.",
     "Cold snap: the council salts 400 kilometres of cycle path before six in the morning.",
     "Sunday: new year's dive at the beach of the Maarsseveen lakes."),
    ("2025-04-04", "Blossom report",
     "Cherry trees at the Lepelenburg: full. Magnolias at the Domplein: over. The pear tree: three flowers.",
     "The night train to Prague stops in Amersfoort again from June.",
     "Sunday: city farm, lambs, bring boots."),
    ("2025-09-05", "A bench for Hugo",
     "The lamplighter of Oudegracht retires after thirty-three years. His friends gave him a bench and a lamp.",
     "The matchbox museum has doubled to eighteen square metres.",
     "Saturday: heritage day. The dome of the observatory is open."),
    ("2026-02-06", "The thaw",
     "Eleven days of ice. We collected your photographs and two lost mittens.",
     "The carillon is silent until May: sixty-two bells go to be tuned.",
     "Saturday: soup for everyone at the neighbourhood house."),
    ("2026-06-05", "Ten years of this letter",
     "Ten years, 412 letters, 23 corrections. A thank-you, and the list of corrections.",
     "The swans of the Magdalene bridge, third generation.",
     "Friday: we stand at the Bakkerbrug with cake from four o'clock."),
]

BREAD_ISSUES = [
    ("2023-10-21", "Your starter is not dead", "Grey liquid on top is called hooch. Pour it off or stir it in, feed twice, wait.",
     "100 g starter, 500 g flour, 350 g water, 10 g salt, one night."),
    ("2023-12-16", "Stollen in nine days", "Today you soak the fruit. Tomorrow you do nothing. This is the hardest part.",
     "250 g raisins, 80 g candied peel, 60 ml rum, 500 g flour, 200 g butter, patience."),
    ("2024-02-24", "Rye for beginners", "Rye does not stretch, it sulks. Treat it as a batter and it will forgive you.",
     "400 g rye flour, 380 g water, 80 g rye starter, 9 g salt, a tin."),
    ("2024-05-25", "Flatbreads when it is too hot", "No oven. A pan, a lid, three minutes a side.",
     "300 g flour, 180 g yoghurt, 1 tsp baking powder, salt, nigella seeds."),
    ("2024-10-26", "Pumpkin is not a vegetable", "It is a water reserve. Roast it first, or your dough will be soup.",
     "450 g flour, 200 g roasted pumpkin, 220 g water, 90 g starter, 10 g salt, sage."),
    ("2025-03-15", "The 90 per cent loaf", "Ninety per cent water is a party trick. We explain the trick, and why we bake at 72.",
     "500 g flour, 360 g water, 100 g starter, 10 g salt."),
    ("2025-11-22", "Saffron buns", "Warm the milk, soak the saffron, ignore anyone who says that turmeric will do.",
     "0.5 g saffron, 250 ml milk, 500 g flour, 100 g sugar, 125 g butter, raisins for eyes."),
    ("2026-04-18", "Bread for a crowd", "Forty people, two ovens, one evening: a timetable.",
     "5 kg flour, 3.5 kg water, 1 kg starter, 100 g salt, four friends."),
]

BOOK_ORDERS = [
    ("2023-09-19", "LB-20311", [("The Bridge on the Drina, Ivo Andrić", "14.50"), ("A Field Guide to Getting Lost, Rebecca Solnit", "13.00")]),
    ("2023-12-11", "LB-21877", [("Piranesi, Susanna Clarke", "12.99"), ("Advent calendar, woodcut", "9.50"), ("The Summer Book, Tove Jansson", "11.00")]),
    ("2024-03-02", "LB-23140", [("Invisible Cities, Italo Calvino", "11.50"), ("Cartographies of Time", "34.00")]),
    ("2024-08-27", "LB-26009", [("Japanese for Busy People I", "29.90"), ("Kyoto, a literary guide", "15.00")]),
    ("2025-02-18", "LB-29354", [("Honey & Co. at Home", "26.00"), ("Wedding speeches for people who hate speeches", "8.95")]),
    ("2025-10-30", "LB-33871", [("The Dispossessed, Ursula K. Le Guin", "12.50"), ("Cat behaviour explained", "16.00")]),
    ("2026-05-12", "LB-38120", [("Austerlitz, W. G. Sebald", "13.50"), ("Notebook, dotted, A5", "7.20")]),
]

TICKETS = [
    ("2023-11-17", "Utrecht Centraal", "Amsterdam Centraal", "10:08", "10:35", "9.20"),
    ("2024-01-26", "Utrecht Centraal", "Köln Hbf", "08:33", "11:15", "27.90"),
    ("2024-04-12", "Utrecht Centraal", "Brussels-Midi", "07:58", "10:52", "31.00"),
    ("2024-10-03", "Utrecht Centraal", "Schiphol Airport", "06:29", "06:59", "10.10"),
    ("2025-03-28", "Utrecht Centraal", "Berlin Ostbahnhof", "09:03", "15:22", "44.90"),
    ("2025-06-18", "Utrecht Centraal", "Schiphol Airport", "05:44", "06:14", "10.80"),
    ("2025-12-20", "Utrecht Centraal", "Groningen", "11:20", "13:15", "24.60"),
    ("2026-03-06", "Utrecht Centraal", "Maastricht", "08:27", "10:28", "25.40"),
]

BASKETS = [
    ("2023-10-14", [("Sourdough, half", "2.45"), ("Leeks", "1.80"), ("Comté 200 g", "6.10"), ("Coffee beans 500 g", "9.75")]),
    ("2024-01-20", [("Blood oranges 1 kg", "3.60"), ("Red lentils", "2.10"), ("Olive oil 750 ml", "11.90")]),
    ("2024-06-01", [("Strawberries", "4.20"), ("Feta", "3.95"), ("Watermelon", "5.00"), ("Charcoal", "7.50")]),
    ("2024-09-28", [("Pumpkin", "3.10"), ("Sage", "1.60"), ("Rye flour 1 kg", "2.30")]),
    ("2025-01-18", [("Cat food, salmon, 12 pcs", "10.80"), ("Cat litter 10 l", "8.40"), ("Soba noodles", "3.25")]),
    ("2025-05-24", [("Asparagus", "7.80"), ("New potatoes", "2.90"), ("Cat food, chicken, 12 pcs", "10.80")]),
    ("2025-11-08", [("Saffron 0.5 g", "5.60"), ("Butter", "2.95"), ("Milk", "1.35"), ("Cat litter 10 l", "8.60")]),
    ("2026-07-11", [("Cherries 1 kg", "6.90"), ("Goat cheese", "4.40"), ("Cat food, tuna, 12 pcs", "11.40")]),
]

PARCELS = [
    ("2023-09-21", "3SPP0042917", "Lantern Books", "at the neighbours, number 14"),
    ("2023-12-13", "3SPP0051220", "Lantern Books", "in your mailbox"),
    ("2024-05-03", "3SPP0066341", "Nordlamp", "at the ParcelPoint, Twijnstraat 8; code 4471"),
    ("2024-08-29", "3SPP0073318", "Lantern Books", "to you"),
    ("2025-01-09", "3SPP0081179", "Cat & Cushion", "to you"),
    ("2025-05-06", "3SPP0090412", "Atelier Filo", "to you, signed: Hale"),
    ("2026-05-14", "3SPP0112207", "Lantern Books", "in your mailbox"),
]

FILMS = [
    ("2023-10-27", "Fallen Leaves", "20:15", "G7, G8"),
    ("2024-02-16", "Perfect Days", "19:00", "E4, E5"),
    ("2024-11-22", "Flow", "18:30", "C10"),
    ("2025-08-15", "In the Mood for Love (restored)", "21:30, on the wharf", "blanket 12"),
    ("2026-01-30", "The Third Man (35 mm)", "20:00", "H2, H3"),
]

CLUB_NOTES = [
    ("2024-01-08", "Thursday intervals are back", "Eight times four hundred metres on the cinder track, 19:00. Wear a light.",),
    ("2024-03-11", "Route change: mud", "The Amelisweerd loop is under water. We run along the Kromme Rijn until further notice."),
    ("2024-05-06", "Half marathon group", "Twelve of us want to run the half marathon on 13 October. Long runs on Sundays, 9:00, from the boathouse. Tempo: one can talk."),
    ("2024-07-01", "Summer hours", "Too hot at seven. We start at 20:15 until September."),
    ("2024-09-23", "Taper!", "Three weeks to go. Do less. Nora has the list for the bus, please reply to her and not to the list."),
    ("2024-10-14", "Results", "All twelve finished. Nora Hale 1:58:41, Bram 1:44:10, Fatima 2:03:55 and the rest at home with their feet up."),
    ("2025-02-03", "Members' meeting", "Minutes are attached in spirit: the fee stays, the shirts do not."),
    ("2025-09-15", "Night run with lamps", "Friday, 22:00, from the observatory. Seven kilometres, soup at the end."),
    ("2026-03-16", "Spring relay", "Four runners, four stages, one baton in the shape of a herring. Teams by 1 April, no joke."),
]


def at(day, clock):
    return f"{day} {clock}"


def write(box: Mailbox):
    newsletters(box)
    purchases(box)
    household(box)
    club(box)
    machines(box)
    broken(box)


def newsletters(box):
    for number, (day, title, first, second, dates) in enumerate(CANAL_ISSUES, 341):
        body = f"<h1>{title}</h1>" + paragraphs(
            "Good morning, neighbours.", first) + "<h2>Also in town</h2>" + paragraphs(second)
        body += "<h2>In the diary</h2>" + paragraphs(dates, "<a class='button' href='https://canal.example.com/letters/%d'>Read on the web</a>" % number)
        footer = (f"The Canal Letter no. {number} goes to people in Utrecht who asked for it. "
                  "You are one of them: nora.hale@example.org. <a href='https://canal.example.com/leave'>Leave</a>")
        text = f"THE CANAL LETTER no. {number}\n\n{title}\n\n{first}\n\nAlso in town\n{second}\n\nIn the diary\n{dates}\n\n-- \nLeave: https://canal.example.com/leave\n"
        box.add(at(day, "07:30"), CANAL, OWNER, f"The Canal Letter {number}: {title}", text,
                html=page(title, "#1f5f7a", body, footer),
                headers=[("List-Id", "The Canal Letter <letter.canal.example.com>"),
                         ("List-Unsubscribe", "<https://canal.example.com/leave>"), ("Precedence", "bulk")])
    for number, (day, title, text, recipe) in enumerate(BREAD_ISSUES, 58):
        # HTML alone, as many shops send it.
        body = f"<h1>{title}</h1><p><img src='cid:loaf-{number}.png' width='280' alt='A loaf'></p>" + paragraphs(text)
        body += f"<h2>You need</h2><ul>{''.join(f'<li>{part}</li>' for part in recipe.split(', '))}</ul>"
        html = page(title, "#a4572a", body, "Slow Bread, a letter every now and then. <a href='https://slowbread.example.com/u'>Unsubscribe</a>")
        if number % 2:
            box.add(at(day, "09:05"), BREAD, OWNER, f"🍞 {title}", f"{title}\n\n{text}\n\nYou need: {recipe}\n", html=html,
                    inline=(f"loaf-{number}.png", picture(number, 40)), headers=[("List-Id", "<slowbread.example.com>")])
        else:
            only_html(box, at(day, "09:05"), BREAD, f"🍞 {title}", html)


def only_html(box, when, sender, subject, html):
    """A message whose only body is HTML."""
    date = datetime.strptime(when, "%Y-%m-%d %H:%M").replace(tzinfo=timezone.utc)
    box.count += 1
    head = (
        f"Delivered-To: {OWNER[1]}\nFrom: {sender[0]} <{sender[1]}>\nTo: {OWNER[1]}\n"
        f"Subject: =?UTF-8?Q?{''.join('=%02X' % byte for byte in subject.encode())}?=\n"
        f"Date: {date:%a, %d %b %Y %H:%M:%S} +0000\nMessage-ID: <html.{box.count:04}@{sender[1].split('@')[1]}>\n"
        "MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
    )
    box.raw(date, sender[1], (head + html).encode())


def purchases(box):
    for day, number, items in BOOK_ORDERS:
        total = sum(float(price) for _, price in items)
        rows = "".join(f"<tr><td>{name}</td><td class='price'>€ {price}</td></tr>" for name, price in items)
        body = f"<h1>Thank you, Nora</h1><p>We have your order <b>{number}</b> and are looking for string.</p><table width='100%'>{rows}<tr class='rule'><td><b>Total</b></td><td class='price'><b>€ {total:.2f}</b></td></tr></table>"
        listing = "\n".join(f"  {name:<52} € {price:>6}" for name, price in items)
        box.add(at(day, "20:41"), BOOKS, OWNER, f"Your order {number}", f"Thank you, Nora.\n\nOrder {number}\n\n{listing}\n\n  Total € {total:.2f} including VAT\n",
                html=page(f"Order {number}", "#5b3a8c", body, "Lantern Books, Voorstraat 41, Utrecht"),
                files=[(f"receipt-{number}.pdf", pdf(f"Receipt {number}", [*(f"{name}   EUR {price}" for name, price in items), f"Total   EUR {total:.2f}"]))])
    for day, start, end, leaves, arrives, price in TICKETS:
        box.add(at(day, "18:12"), RAIL, OWNER, f"Your ticket: {start} to {end}",
                f"Journey on the day after this message unless stated otherwise on the ticket.\n\n{leaves}  {start}\n{arrives}  {end}\n\n1 adult, 2nd class, € {price}\nBooking code {day[2:4]}{day[5:7]}{day[8:]}NH\n",
                files=[("ticket.pdf", pdf("Lowland Rail e-ticket", [f"{start} {leaves} - {end} {arrives}", "N. HALE", f"EUR {price}"]))])
    for number, (day, items) in enumerate(BASKETS, 1):
        total = sum(float(price) for _, price in items)
        listing = "\n".join(f"{name:<28}{price:>8}" for name, price in items)
        box.add(at(day, "17:55"), GROCER, OWNER, f"Receipt for € {total:.2f}", f"MARKET & CRATE, Vredenburg\n\n{listing}\n{'':-<36}\n{'Total EUR':<28}{total:>8.2f}\n\nPaid by card ending 0417. Your points: {number * 37}\n", charset="windows-1252", cte="8bit")
    for day, code, shop, place in PARCELS:
        body = f"<h1>Delivered</h1><p>Your parcel from <b>{shop}</b> was delivered {place}.</p><p>Code: {code}</p>"
        box.add(at(day, "13:26"), PARCEL, OWNER, f"Delivered: your parcel from {shop}", f"Your parcel {code} from {shop} was delivered {place}.\n", html=page("Delivered", "#d9480f", body, "ParcelPoint. Do not answer this message."))
    for day, film, clock, seats in FILMS:
        box.add(at(day, "12:02"), FILM, OWNER, f"Tickets: {film}", f"{film}\n{day}, {clock}\nSeats {seats}\n\nShow this message at the door. The bar opens an hour before.\n")


def household(box):
    for index in range(12):
        year, month = 2024 + (index * 3) // 12, (index * 3) % 12 + 1
        if year == 2026 and month > 9:
            break
        quarter = f"{year}-{month:02}-03"
        spent, earned = 1310.40 + index * 41.7, 2480 + (index * 173) % 600
        box.add(at(quarter, "06:00"), BANK, OWNER, "Your quarterly statement is ready",
                f"Dear Ms Hale,\n\nyour statement for the account ending 2207 is attached.\n\nPaid in (monthly mean)   EUR {earned:,.2f}\nPaid out (monthly mean)  EUR {spent:,.2f}\n\nHarbour Bank will never ask you for a code by mail.\n",
                files=[(f"statement-{year}-{month:02}.pdf", pdf("Statement", [f"Account ending 2207, {quarter}", f"In {earned:.2f}", f"Out {spent:.2f}"]))])
    for year, used, price in ((2024, 1840, "611.20"), (2025, 1715, "583.90"), (2026, 1690, "571.35")):
        box.add(f"{year}-02-20 08:15", ENERGY, OWNER, f"Your annual energy bill {year}",
                f"Beste mevrouw Hale,\n\nu gebruikte {used} kWh. Het totaalbedrag is € {price}. U krijgt € 23,10 terug.\n\nMet vriendelijke groet,\nWindmill Energy\n", charset="iso-8859-15", cte="quoted-printable",
                files=[(f"jaarafrekening-{year}.csv", f"maand;kWh\n" + "".join(f"{m:02};{used // 12 + (m * 7) % 31 - 15}\n" for m in range(1, 13)))])
    for day, who, clock in (("2023-11-28", "Dr. Lotte Baas", "09:20"), ("2024-06-04", "Dr. Lotte Baas", "08:40"), ("2025-01-14", "M. Visser, hygienist", "16:00"), ("2025-07-22", "Dr. Lotte Baas", "10:10"), ("2026-01-20", "M. Visser, hygienist", "09:50")):
        stamp = f"{day.replace('-', '')}T{clock.replace(':', '')}00Z"
        box.add(at(day, "07:00"), ("Wittevrouwen Dental", "desk@wvdental.example.com"), OWNER, f"Reminder: dentist at {clock}",
                f"Dear Nora,\n\nthis is a reminder of your appointment with {who} at {clock}.\nIf you cannot come, please call a day ahead: 030 555 0142.\n",
                invite=calendar("REQUEST", f"dental-{day}", stamp, stamp, f"Dentist: {who}", "Biltstraat 61", "desk@wvdental.example.com", OWNER[1]))


def club(box):
    for day, title, text in CLUB_NOTES:
        box.add(at(day, "21:10"), RUNNERS, ("Members", "members@domrunners.example.org"), f"[domrunners] {title}",
                f"{text}\n\nSee you on the path,\nWillem\n\n_______________________________________________\nmembers mailing list, members@domrunners.example.org\n",
                headers=[("List-Id", "Dom Runners members <members.domrunners.example.org>"), ("Precedence", "list")])


def machines(box):
    codes = [("2023-09-30", "Harbour Bank", BANK, "391 204"), ("2024-03-30", "Flatfinder", ("Flatfinder", "login@flatfinder.example.com"), "77-1043"),
             ("2025-01-03", "City of Utrecht", ("City of Utrecht", "no-reply@city.example.org"), "660918"), ("2026-08-02", "Lantern Books", BOOKS, "5502")]
    for day, name, sender, code in codes:
        box.add(at(day, "19:47"), sender, OWNER, f"{code} is your {name} code", f"Your code is {code}. It is good for ten minutes. If you did not ask for it, do nothing.\n")
    # A bounce: a report with the headers of what could not be delivered.
    box.count += 1
    when = datetime(2024, 2, 14, 9, 31, 5, tzinfo=timezone.utc)
    box.raw(when, "MAILER-DAEMON", (
        f"Delivered-To: {STUDIO[1]}\nReturn-Path: <>\nFrom: Mail Delivery System <mailer-daemon@mail.example.org>\nTo: {STUDIO[1]}\n"
        "Subject: Undelivered Mail Returned to Sender\nDate: Wed, 14 Feb 2024 09:31:05 +0000\nMessage-ID: <bounce.1@mail.example.org>\nAuto-Submitted: auto-replied\n"
        "MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=\"=_bounce_1\"\n\n"
        "--=_bounce_1\nContent-Type: text/plain; charset=us-ascii\n\nI could not deliver your message to <accounts@tiltpress.example.com>:\n\n    550 5.1.1 User unknown\n\n"
        "--=_bounce_1\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mail.example.org\n\nFinal-Recipient: rfc822; accounts@tiltpress.example.com\nAction: failed\nStatus: 5.1.1\n\n"
        f"--=_bounce_1\nContent-Type: message/rfc822\n\nFrom: {STUDIO[1]}\nTo: accounts@tiltpress.example.com\nSubject: Invoice 2024-003\nDate: Wed, 14 Feb 2024 09:31:01 +0000\nMessage-ID: <lost.1@halestudio.example.com>\n\n"
        "Dear Sir or Madam,\n\nplease find attached the invoice for the catalogue.\n\nNora Hale\n--=_bounce_1--\n").encode())
    when = datetime(2025, 7, 1, 6, 0, 0, tzinfo=timezone.utc)
    box.count += 1
    box.raw(when, "MAILER-DAEMON", (
        f"Delivered-To: {OWNER[1]}\nReturn-Path: <>\nFrom: MAILER-DAEMON@mx.example.com (Mail Delivery Subsystem)\nTo: {OWNER[1]}\n"
        "Subject: Warning: message delayed 4 hours\nDate: Tue, 1 Jul 2025 06:00:00 +0000\nMessage-ID: <delay.1@mx.example.com>\n\n"
        "THIS IS A WARNING MESSAGE ONLY. YOU DO NOT NEED TO RESEND.\n\nThe mailbox of <eleni@kouzina.example.org> is full.\nI shall try again for five days.\n").encode())
    for day, who, until, language in (
        ("2024-08-05", ("Sanne de Wit", "s.dewit@unimuseum.example.org"), "19 August", "I am on holiday, on a boat, without a phone.\n\nIk ben met vakantie, op een boot, zonder telefoon."),
        ("2025-12-24", ("Mats Kessler", "mats@kessler.example.com"), "6 January", "Bis dahin ist das Büro geschlossen. Frohe Feiertage!")):
        box.add(at(day, "10:01"), who, STUDIO, "Automatic reply: proofs", f"Out of office until {until}.\n\n{language}\n", headers=[("Auto-Submitted", "auto-replied")], cte="8bit")
    phishing = page("Account limited", "#c92a2a", "<h1>Your account is limited</h1><p>We notice unusual sign-in. Verify within 24 hour or loss of acces.</p><p><a class='button' href='http://198.51.100.7/verify'>VERIFY NOW</a></p>", "Harbour Bank Security Team")
    box.add("2025-04-22 03:14", ("Harbour Bannk", "security@harbourbank-alerts.example.com"), OWNER, "Urgent: Your account is limited!!", "Verify within 24 hour: http://198.51.100.7/verify\n", html=phishing)
    box.add("2024-11-27 04:02", ("Dr. Prince Edmund", "legacy.fund@win.example.com"), OWNER, "CONFIDENTIAL BUSINESS PROPOSAL", "DEAREST FRIEND,\n\nI AM THE LEGAL KEEPER OF THE SUM OF $14.6 MILLION AND I HAVE CHOSEN YOU FOR YOUR HONESTY. SEND ONLY YOUR BANK DETAILS.\n\nREMAIN BLESSED\n")
    # A message as old programs wrote it: no MIME at all, raw Latin-1, a date without a zone.
    box.count += 1
    when = datetime(2024, 1, 2, 12, 0, 0, tzinfo=timezone.utc)
    box.raw(when, "oskar@antikvar.example.org", (
        f"Delivered-To: {OWNER[1]}\nFrom: oskar@antikvar.example.org (Oskar Lindström, antikvariat)\nTo: nora.hale@example.org\n"
        "Subject: Kartan från 1872\nDate: Tue, 2 Jan 2024 13:00:00\nMessage-ID: <oskar.1@antikvar.example.org>\nX-Mailer: Mulberry 2.2\n\n"
        "Hej Nora!\n\nKartan över Göteborg från 1872 finns kvar. Den är vikt två gånger och har ett litet hål i hörnet,\nmen färgerna är fina. 900 kronor, så är den din.\n\nGott nytt år önskar\nOskar\n").encode("latin-1"))


def broken(box):
    """Two messages that cannot be read, so that the report of an import has something to say."""
    box.raw(datetime(2024, 6, 21, 3, 0, 0, tzinfo=timezone.utc), "MAILER-DAEMON",
            b"\x93\x00\x17 disk error: this block of the mailbox was overwritten\n\x00\x00\x00\x00\xfe\xff no header survived\n")
    box.raw(datetime(2025, 9, 9, 3, 0, 0, tzinfo=timezone.utc), "MAILER-DAEMON",
            b"Subject: (draft that lost its sender)\nDate: Tue, 9 Sep 2025 03:00:00 +0000\n\nThe rest of this message is missing.\n")
