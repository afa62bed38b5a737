#!/usr/bin/env python3
"""Writes records.jsonl and queries.json: the sample mailbox and the conversations, and what a person would want to find there.

A judgment is a rule: (grade, field, pattern). Grade 3: this is it; 2: about it; 1: has to do with it. Fields: name, from,
text, any, topic (of a conversation's line, known by construction). The highest grade counts."""
import json, pathlib, re
import chats, mails

HERE = pathlib.Path(__file__).parent
QUERIES = [
    # what people look for in mail
    ("invoice", [(3, "name", r"^(Re: )?Invoice"), (2, "topic", r"^invoice$"), (1, "any", r"\binvoices?\b")]),
    ("unpaid invoice museum", [(3, "name", r"^Re: Invoice 2024-002"), (3, "topic", r"^invoice$"), (2, "name", r"^Invoice"), ]),
    ("invoice 2024-002", [(3, "name", r"Invoice 2024-002"), (1, "name", r"^(Re: )?Invoice")]),
    ("paying invoices late reminder", [(3, "topic", r"^invoice$"), (3, "name", r"^Re: Invoice 2024-002"), (1, "name", r"Invoice")]),
    ("quarterly statement", [(3, "name", r"quarterly statement"), (1, "from", r"Harbour Bank")]),
    ("bank statements 2025", [(3, "name", r"quarterly statement"), (1, "from", r"Harbour Bank")]),
    ("harbour bank code", [(3, "name", r"Harbour Bank code"), (1, "from", r"Harbour Bank")]),
    ("login code", [(3, "name", r"is your .* code"), (1, "any", r"\bcode\b")]),
    ("dentist", [(3, "name", r"dentist"), (1, "from", r"Dental")]),
    ("dentist apointment", [(3, "name", r"dentist"), (1, "from", r"Dental")]),
    ("dentits", [(3, "name", r"dentist")]),
    ("train ticket", [(3, "name", r"^Your ticket:"), (1, "any", r"\btrain\b")]),
    ("ticket köln", [(3, "name", r"^Your ticket:.*Köln"), (2, "name", r"^Your ticket:"), (1, "any", r"Köln")]),
    ("koln", [(3, "any", r"Köln")]),
    ("tickets berlin", [(3, "name", r"^Your ticket:.*Berlin"), (2, "name", r"^Your ticket"), (2, "any", r"Berlin"), (1, "name", r"^Tickets")]),
    ("cinema tickets", [(3, "name", r"^Tickets:"), (1, "from", r"Nightbird")]),
    ("the third man", [(3, "name", r"Third Man")]),
    ("book order", [(3, "name", r"^Your order LB"), (1, "from", r"Lantern Books")]),
    ("lantern books order", [(3, "name", r"^Your order LB"), (2, "name", r"parcel from Lantern"), (1, "from", r"Lantern Books")]),
    ("calvino", [(3, "any", r"Calvino")]),
    ("parcel delivered neighbours", [(3, "text", r"delivered at the neighbours"), (2, "name", r"^Delivered")]),
    ("parcels", [(3, "name", r"^Delivered"), (2, "any", r"\bparcel\b")]),
    ("delivery", [(3, "name", r"^Delivered"), (1, "from", r"Mail Delivery|DAEMON")]),
    ("energy bill", [(3, "name", r"annual energy bill"), (1, "from", r"Windmill")]),
    ("windmil energy", [(3, "from", r"Windmill")]),
    ("grocery receipt cat food", [(3, "text", r"(?s)MARKET & CRATE.*Cat food"), (2, "name", r"^Receipt for")]),
    ("receipts market crate", [(3, "name", r"^Receipt for")]),
    ("sourdough starter", [(3, "name", r"starter is not dead"), (1, "from", r"Slow Bread"), (1, "text", r"[Ss]ourdough")]),
    ("rye bread", [(3, "name", r"Rye for beginners"), (2, "text", r"\bRye\b"), (1, "from", r"Slow Bread")]),
    ("baking bread for many people", [(3, "name", r"Bread for a crowd"), (1, "from", r"Slow Bread")]),
    ("saffron buns", [(3, "name", r"Saffron buns"), (1, "text", r"[Ss]affron")]),
    ("canal letter storks", [(3, "name", r"storks"), (1, "name", r"^The Canal Letter")]),
    ("lamplighter", [(3, "any", r"[Ll]amplighter")]),
    ("ice rink", [(3, "name", r"Ice rink"), (1, "text", r"ice rink")]),
    ("swans", [(3, "any", r"\b[Ss]wans?\b")]),
    ("viewing springweg", [(3, "name", r"Viewing Springweg"), (1, "text", r"Springweg")]),
    ("flat viewing appointment", [(3, "name", r"Viewing Springweg"), (2, "from", r"Flatfinder")]),
    ("huurcontract", [(3, "files", r"huurcontract")]),
    ("van for moving house", [(3, "name", r"Who has a van"), (2, "name", r"Change of address"), (1, "text", r"\bI moved?\b|verhuizing")]),
    ("change of address", [(3, "name", r"Change of address"), (3, "name", r"adreswijziging")]),
    ("paper cities exhibition", [(3, "text", r"exhibition of"), (2, "name", r"Paper Cities"), (1, "any", r"Paper Cities")]),
    ("mats kessler", [(3, "from", r"Mats Ke(ß|ss)ler"), (2, "from", r"^Mats$"), (1, "any", r"\bMats\b|Keßler")]),
    ("aufsatz", [(3, "any", r"[Aa]ufsatz|Aufsätze")]),
    ("sanne", [(3, "from", r"Sanne"), (1, "text", r"Sanne")]),
    ("flight to thessaloniki", [(3, "name", r"flight to Thessaloniki|HR 433"), (1, "any", r"Thessaloniki")]),
    ("flights", [(3, "name", r"\bflight\b|Check in now"), (3, "topic", r"^flight$"), (1, "text", r"\bflight\b")]),
    ("half marathon", [(3, "name", r"[Hh]alf marathon"), (3, "topic", r"^race$"), (1, "any", r"[Mm]arathon")]),
    ("thursday intervals", [(3, "name", r"Thursday intervals"), (3, "topic", r"^intervals$"), (1, "any", r"[Ii]ntervals")]),
    ("night run", [(3, "name", r"Night run"), (2, "topic", r"^soup$"), (1, "any", r"[Nn]ight run")]),
    ("guest list", [(3, "name", r"Guest list"), (1, "files", r"guests")]),
    ("wedding photos", [(3, "name", r"photos!!"), (2, "text", r"fotos do casamento")]),
    ("mother's eye operation", [(3, "topic", r"^eye$"), (3, "name", r"Operation")]),
    ("cat sitting", [(3, "name", r"Cat-sitting")]),
    ("vet vaccination miso", [(3, "name", r"vaccination"), (2, "from", r"\bVet\b"), (1, "any", r"Miso")]),
    ("diwali", [(3, "text", r"Diwali")]),
    ("दिवाली", [(3, "name", r"दिवाली")]),
    ("القاهرة", [(3, "any", r"القاهرة")]),
    ("חיפה", [(3, "any", r"חיפה")]),
    ("лист від олени", [(3, "name", r"Лист від Олени")]),
    ("συνταγή", [(3, "name", r"συνταγή")]),
    ("번역", [(3, "any", r"번역")]),
    ("翻訳", [(3, "text", r"翻訳")]),
    ("rechnung verlag", [(3, "text", r"(?s)Verlag.*Rechnung|Rechnung.*Verlag"), (1, "text", r"Rechnung")]),
    # what people look for in chats
    ("boiler error", [(3, "topic", r"^boiler$"), (2, "text", r"foutcode E4"), (1, "text", r"[Bb]oiler|ketel")]),
    ("bikes in the hallway", [(3, "topic", r"^bicycle$"), (1, "text", r"\bbikes?\b")]),
    ("bins", [(3, "topic", r"^rubbish$")]),
    ("leaking roof", [(3, "topic", r"^roof$")]),
    ("registered for the marathon", [(3, "topic", r"^race$"), (2, "name", r"[Hh]alf marathon")]),
    ("running shoes", [(3, "topic", r"^shoes$"), (1, "topic", r"^injury$")]),
    ("knee pain", [(3, "text", r"[Kk]nee hurts"), (2, "topic", r"^injury$"), (1, "text", r"\bknee\b")]),
    ("computer screen dad", [(3, "topic", r"^computer$"), (2, "name", r"doing it again")]),
    ("airport pick up", [(3, "topic", r"^flight$"), (1, "any", r"[Aa]irport")]),
    ("galaktoboureko recipe", [(3, "topic", r"^recipe$"), (2, "name", r"συνταγή"), (1, "text", r"recipe")]),
    ("birthday present dad", [(3, "topic", r"^birthday$"), (2, "name", r"Seventy")]),
    ("baby photographs", [(3, "topic", r"^baby$"), (2, "name", r"Δάφνη"), (1, "text", r"photographs?")]),
    ("glossary crease", [(3, "topic", r"^glossary$"), (1, "text", r"crease")]),
    ("deadlines", [(3, "topic", r"^deadline$"), (1, "any", r"[Dd]eadline")]),
    ("wedding speech", [(3, "topic", r"^speech$"), (2, "text", r"Wedding speeches"), (1, "any", r"[Ss]peech")]),
    ("lost rings", [(3, "topic", r"^rings$")]),
    ("umbrellas rain", [(3, "topic", r"^weather$")]),
    ("hotel rooms", [(3, "topic", r"^hotel$")]),
]

def value(record, field, topic):
    if field == "topic":
        return topic
    if field == "from":
        return record["fromName"]
    if field == "files":
        return " ".join(attached["filename"] for attached in record.get("attachments", []))
    if field == "any":
        return record.get("name", "") + "\n" + record["messageText"]
    return record.get({"name": "name", "text": "messageText"}[field], "")

def main():
    found = [(record, "") for record in mails.records(HERE / "../../adyton/sample/sample.mbox")]
    found += list(chats.records())
    with open(HERE / "records.jsonl", "w", encoding="utf-8") as out:
        for record, _ in found:
            out.write(json.dumps(record, ensure_ascii=False, sort_keys=True).replace("\ud800", "") + "\n")
    judged = []
    for query, rules in QUERIES:
        grades = {}
        for record, topic in found:
            best = max((grade for grade, field, pattern in rules if re.search(pattern, value(record, field, topic))), default=0)
            if best:
                grades[record["_id"]] = best
        assert grades, query
        judged.append({"query": query, "grades": grades})
    with open(HERE / "queries.json", "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(query, ensure_ascii=False) for query in judged) + "\n]\n")
    print(len(found), "records,", len(judged), "queries")

main()
