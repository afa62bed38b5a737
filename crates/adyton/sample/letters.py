"""The letters: Nora's family, friends, flat, work, wedding, journey, cat and knees."""

from datetime import datetime, timezone
from email.message import EmailMessage

from generate import OWNER, POLICY, STUDIO, Mailbox, calendar, pdf, picture

MUM = ("Katerina Hale", "katerina.hale@example.org")
DAD = ("Peter Hale", "peter.hale@example.org")
ELENI = ("Eleni Hale", "eleni@kouzina.example.org")
STAVROS = ("Στάυρος Νικολάου", "stavros@nikolaou.example.org")
YIAYIA = ("Θεία Μαρίκα", "marika@example.org")
SANNE = ("Sanne de Wit", "s.dewit@unimuseum.example.org")
MATS = ("Mats Keßler", "mats@kessler.example.com")
TOMAS = ("Tomáš Dvořák", "tomas.dvorak@press.example.com")
YUKI = ("山田 由紀", "yuki.yamada@example.org")
RYOKAN = ("旅館 藤の家", "yoyaku@fujinoya.example.com")
AMIRA = ("أميرة حسن", "amira.hassan@example.org")
NOA = ("נועה לוי", "noa.levi@example.org")
BRUNO = ("Bruno Carvalho", "bruno.carvalho@example.org")
MINJI = ("김민지", "minji.kim@example.org")
OLENA = ("Олена Шевчук", "olena@shevchuk.example.org")
PRIYA = ("Priya Raman", "priya.raman@example.org")
WEI = ("陈伟", "wei.chen@example.org")
LANDLORD = ("J. van Dam", "vandam.verhuur@example.com")
AGENT = ("Flatfinder Utrecht", "viewings@flatfinder.example.com")
SHELTER = ("Dierenasiel Utrecht", "adoptie@asiel.example.org")
VET = ("Vet at the Park", "hello@vetpark.example.com")
PHYSIO = ("Femke Bos", "femke@bosfysio.example.com")
BRAM = ("Bram Jansen", "bram.jansen@example.org")
FATIMA = ("Fatima El Idrissi", "fatima@elidrissi.example.org")
AIRLINE = ("Heron Air", "booking@heronair.example.com")


def thread(box: Mailbox, key, subject, *messages):
    """A conversation: each message answers the one before it."""
    for index, (when, sender, to, text, *options) in enumerate(messages):
        settings = options[0] if options else {}
        title = settings.pop("subject", subject if index == 0 else f"Re: {subject}")
        box.add(when, sender, to, title, text, key=key, reply=key if index else None, **settings)


def write(box: Mailbox):
    flat(box)
    exhibition(box)
    invoices(box)
    wedding(box)
    japan(box)
    cat(box)
    running(box)
    family(box)
    friends(box)


def quoted(text):
    return "".join(f"> {line}\n" for line in text.splitlines())


def flat(box):
    box.add("2024-01-29 11:20", AGENT, OWNER, "3 new flats for your search: Utrecht, 2 rooms, to € 1,450",
            "Springweg 88, 54 m2, € 1,395\nAmsterdamsestraatweg 301, 61 m2, € 1,250\nNachtegaalstraat 12, 47 m2, € 1,410\n\nViewings are given in the order of replies.\n")
    thread(box, "springweg", "Viewing Springweg 88",
           ("2024-01-29 11:32", OWNER, AGENT, "Hello,\n\nI would very much like to see Springweg 88. I can come any day after four, and Saturdays.\n\nKind regards,\nNora Hale\n030 555 0118\n"),
           ("2024-01-30 09:10", AGENT, OWNER, "Dear Ms Hale,\n\nSaturday 3 February, 11:15. Please bring proof of income. You are number 6.\n"),
           ("2024-01-30 09:14", OWNER, AGENT, "Thank you, I will be there with a pen.\n"),
           ("2024-02-05 16:44", AGENT, OWNER, "Dear Ms Hale,\n\nMr van Dam has chosen another tenant for Springweg 88. He asks, however, whether you would look at his flat in the Lange Nieuwstraat, free from April. It is not advertised.\n"),
           ("2024-02-05 16:47", OWNER, AGENT, "Yes. Yes please. When?\n"))
    thread(box, "lease", "Lange Nieuwstraat 27-bis",
           ("2024-02-12 20:05", LANDLORD, OWNER, "Beste Nora,\n\nFijn dat je zaterdag kon komen. De woning is voor jou als je wilt: € 1.320 per maand, exclusief energie, per 1 april. De borg is één maand. Bijgaand het contract, lees het rustig door.\n\nGroet,\nJan van Dam\n",
            {"cte": "8bit", "charset": "iso-8859-15", "files": [("huurcontract.pdf", pdf("Huurcontract", ["Lange Nieuwstraat 27-bis, Utrecht", "Huur: EUR 1.320 per maand", "Borg: EUR 1.320", "Ingangsdatum: 1 april 2024"]))]}),
           ("2024-02-13 08:30", OWNER, LANDLORD, "Beste Jan,\n\nGraag! Twee vragen: mag ik de keuken groen verven, en mag er ooit een kat komen?\n\nGroet,\nNora\n"),
           ("2024-02-13 12:02", LANDLORD, OWNER, "Groen mag, kat mag, drumstel niet.\n\nJan\n"),
           ("2024-02-14 19:21", OWNER, LANDLORD, "Getekend en wel, zie bijlage. De borg is overgemaakt.\n\nTot 1 april!\nNora\n",
            {"files": [("huurcontract-getekend.pdf", pdf("Huurcontract (getekend)", ["Lange Nieuwstraat 27-bis", "N. Hale", "J. van Dam"]))]}),
           ("2024-03-31 17:40", LANDLORD, OWNER, "De sleutels liggen bij de bakker. De linker is de voordeur, die klemt bij regen. Welkom!\n"),
           ("2025-11-02 10:12", OWNER, LANDLORD, "Beste Jan,\n\nde ketel geeft foutcode E4 en het is elf graden binnen. De kat ligt op de router.\n\nNora\n"),
           ("2025-11-02 10:31", LANDLORD, OWNER, "Monteur komt morgen tussen 8 en 10. Sorry voor de kat.\n"))
    thread(box, "moving", "Who has a van?",
           ("2024-03-18 21:00", OWNER, [BRAM, FATIMA, ELENI], "Dear strong people,\n\nI move on Monday 1 April (this is not a joke). From Zuilen to the Lange Nieuwstraat, third floor, stairs like a ladder. Who has a van, who has a back, who likes soup?\n\nNora\n"),
           ("2024-03-18 21:26", BRAM, OWNER, "I have a cargo bike and opinions. The opinions are free.\n"),
           ("2024-03-19 07:50", FATIMA, OWNER, "My brother's van! He wants it back clean and with a full tank. I bring harira so you do not need to cook.\n", {"cc": [BRAM]}),
           ("2024-03-19 08:15", ELENI, OWNER, "I am in Thessaloniki, so I am supporting you by telephone. Label the boxes on the SIDE.\n"),
           ("2024-04-01 23:10", OWNER, [BRAM, FATIMA, ELENI], "Done. Nothing broken but the lamp, which I never liked, and Bram's record for stairs (41 times). Fatima, the soup had a second life at ten in the evening. There is a photo of the three of us on the only chair.\n\nThank you. I mean it.\nN.\n",
            {"files": [("one-chair.png", picture(3))]}))
    box.add("2024-04-02 10:00", OWNER, ("City of Utrecht", "registry@city.example.org"), "Change of address",
            "Dear Sir or Madam,\n\nI have moved on 1 April 2024.\nOld: Amsterdamsestraatweg 655, Utrecht\nNew: Lange Nieuwstraat 27-bis, Utrecht\n\nNora Hale\n")
    box.add("2024-04-09 14:20", ("City of Utrecht", "registry@city.example.org"), OWNER, "Ontvangstbevestiging adreswijziging",
            "Geachte mevrouw Hale,\n\nWij hebben uw verhuizing verwerkt. U bent ingeschreven op Lange Nieuwstraat 27-bis.\n\nGemeente Utrecht, Burgerzaken\n")


def exhibition(box):
    thread(box, "paper", "Paper Cities: translations",
           ("2023-10-02 09:12", SANNE, STUDIO, "Dear Nora,\n\nwe met at the book fair, you corrected our leaflet with a pencil. We are preparing an exhibition of paper maps and models, Paper Cities, to open in May. Would you take the wall texts and the catalogue, Dutch and German into English? About 60,000 words.\n\nSanne de Wit\nCurator, University Museum\n"),
           ("2023-10-02 11:40", STUDIO, SANNE, "Dear Sanne,\n\nI remember the leaflet: 'the visitors are kindly requested to be folded'. I would love to. For 60,000 words I need until mid-March and one free afternoon among the maps.\n\nMy rate is 0.16 per word; the estimate is attached.\n\nNora\n",
            {"files": [("estimate-paper-cities.csv", "item;words;rate;sum\nwall texts;8000;0.16;1280.00\ncatalogue;52000;0.16;8320.00\nproofs;;;450.00\ntotal;;;10050.00\n")]}),
           ("2023-10-04 15:05", SANNE, STUDIO, "Approved, and 'folded' is now a running gag of the whole department. Contract follows. Meet Mats, who writes the German essays.\n", {"cc": [MATS]}),
           ("2023-10-05 08:20", MATS, STUDIO, "Liebe Frau Hale,\n\nmeine Sätze sind lang, dafür sind sie selten. Der erste Aufsatz (Faltpläne der Zwischenkriegszeit) kommt Ende des Monats. Für Rückfragen zu »Knick«, »Falz« und »Falte« stehe ich jederzeit bereit; es sind drei verschiedene Dinge.\n\nHerzliche Grüße aus Köln\nMats Keßler\n",
            {"charset": "iso-8859-1", "cte": "quoted-printable"} | {"subject": "Paper Cities: Aufsätze"}),
           ("2023-10-05 10:02", STUDIO, MATS, "Lieber Herr Keßler,\n\ncrease, fold, pleat. Bei »Knick« zögere ich noch.\n\nViele Grüße\nNora Hale\n"),
           ("2024-01-22 17:31", MATS, STUDIO, "Liebe Nora,\n\nanbei Aufsatz drei. Ein Satz hat 94 Wörter. Ich habe versucht, ihn zu kürzen, da wurden es 101.\n\nMats\n", {"charset": "windows-1252", "cte": "base64", "files": [("aufsatz-3.txt", "Faltpläne der Zwischenkriegszeit\n\nWer einen Stadtplan faltet, der faltet die Stadt.\n")]}),
           ("2024-01-25 21:14", STUDIO, MATS, "Lieber Mats,\n\nich habe vier Sätze daraus gemacht. Niemand wurde verletzt. Morgen bin ich in Köln, hast du Zeit für einen Kaffee?\n\nNora\n"),
           ("2024-03-15 18:59", STUDIO, SANNE, "Dear Sanne,\n\nall of it. 61,204 words, one unsolved pun on page 88 (see comment).\n\nNora\n",
            {"files": [("catalogue-final.zip", b"PK\x05\x06" + b"\0" * 18)], "cc": [MATS]}),
           ("2024-03-18 09:30", SANNE, STUDIO, "You are a marvel. The pun stays as it is; the printer cried, we laughed.\n"))
    box.add("2024-04-22 10:00", SANNE, [STUDIO, MATS], "Invitation: press preview Paper Cities", "Thursday 16 May, 10:30 to 12:00, Lange Nieuwstraat 106. Coffee in the map room.\n",
            invite=calendar("REQUEST", "press-preview", "20240516T083000Z", "20240516T100000Z", "Press preview: Paper Cities", "University Museum, map room", SANNE[1], STUDIO[1]))
    box.add("2024-04-22 10:26", STUDIO, SANNE, "Accepted: press preview Paper Cities", "Nora Hale has accepted.\n",
            invite=calendar("REPLY", "press-preview", "20240516T083000Z", "20240516T100000Z", "Press preview: Paper Cities", "University Museum, map room", SANNE[1], STUDIO[1], "ACCEPTED"))
    thread(box, "labels", "Wall text 14 is wrong",
           ("2024-05-14 22:48", STUDIO, SANNE, "Sanne,\n\nI walked past the window: wall text 14 says 'public baths'. The Dutch is 'openbare banen', so it should be 'public railways'. Two days to go. Sorry, and also: help.\n\nN.\n"),
           ("2024-05-14 23:02", SANNE, STUDIO, "Reprinting at seven. You saved us from a very strange tram map.\n"))
    box.add("2024-05-18 08:55", SANNE, [STUDIO, MATS, TOMAS], "Paper Cities: opening in numbers",
            "Good morning all,\n\n312 people at the opening, 41 catalogues sold, one review already (four stars, 'the texts are a pleasure'; that is you, Nora).\n\nFrom now on the museum is open until nine on Thursdays.\n\nSanne\n", cte="8bit")
    thread(box, "prague", "Katalog Papírová města",
           ("2024-06-11 13:20", TOMAS, STUDIO, "Dobrý den, paní Hale,\n\nchtěli bychom katalog vydat česky. Sanne říkala, že znáte každou větu nazpaměť. Mohli bychom se sejít v Praze, nebo v Bruselu na veletrhu?\n\nS pozdravem\nTomáš Dvořák\n", {"charset": "iso-8859-2", "cte": "8bit"}),
           ("2024-06-11 15:44", STUDIO, TOMAS, "Dear Tomáš,\n\nmy Czech ends at beer and Dvořák (the other one), but I know every sentence, yes. Shall we meet in Berlin in March instead? I am there for the translators' days.\n\nNora\n"),
           ("2025-03-12 09:01", TOMAS, STUDIO, "Dear Nora,\n\nBerlin it is. Saturday 29 March, 13:00, the café under the railway arch. I will be the man with the enormous folder.\n\nTomáš\n"),
           ("2025-03-31 12:12", TOMAS, STUDIO, "Dear Nora,\n\nthank you for Saturday. The publisher agrees: Czech edition in spring 2026, with your English as the bridge text, and a fee for it (€ 1,800). Contract attached.\n",
            {"files": [("smlouva.pdf", pdf("Smlouva / Contract", ["Paper Cities, Czech edition", "Bridge text: Nora Hale", "Fee: EUR 1,800"]))]}),
           ("2026-04-20 16:30", TOMAS, STUDIO, "It is here, it smells of ink, and on page 4 you are thanked in two languages. Three copies are on their way.\n", {"files": [("cover.png", picture(11))]}))
    thread(box, "berlin", "Translators' days: your talk",
           ("2024-12-03 14:00", ("Translators' Days Berlin", "programme@uebersetzertage.example.org"), STUDIO, "Sehr geehrte Frau Hale,\n\nwir freuen uns, Ihren Vortrag »Falten übersetzen« am 28. März 2025 um 16 Uhr anzukündigen. Bitte schicken Sie uns bis zum 15. Januar einen Kurztext.\n\nMit freundlichen Grüßen\nDas Programmteam\n", {"charset": "iso-8859-1", "cte": "8bit"}),
           ("2025-01-14 23:51", STUDIO, ("Translators' Days Berlin", "programme@uebersetzertage.example.org"), "Guten Abend,\n\nneun Minuten vor Ablauf der Frist: Was bleibt von einer Falte, wenn man sie in eine andere Sprache legt? Ein Werkstattbericht mit Schere.\n\nNora Hale\n"))


def invoices(box):
    jobs = [("2023-11-30", "2023-014", SANNE, "wall texts, first half", "640.00"), ("2024-01-31", "2024-002", SANNE, "catalogue, essays 1 and 2", "2,780.00"),
            ("2024-02-14", "2024-003", ("Tilt Press", "accounts@tiltpress.example.com"), "proofreading, art yearbook", "390.00"),
            ("2024-03-29", "2024-005", SANNE, "catalogue, remainder", "6,240.00"), ("2024-09-16", "2024-011", ("Canal Letter", "office@canal.example.com"), "English edition, summer", "480.00"),
            ("2025-04-11", "2025-004", TOMAS, "bridge text, Czech edition, half", "900.00"), ("2025-09-22", "2025-012", MATS, "essay 'Knick', into English", "610.00"),
            ("2026-02-13", "2026-002", TOMAS, "bridge text, Czech edition, rest", "900.00"), ("2026-06-30", "2026-007", SANNE, "audio guide, 38 stops", "1,520.00")]
    for day, number, client, what, total in jobs:
        box.add(f"{day} 17:05", STUDIO, client, f"Invoice {number}", f"Dear {client[0].split()[0]},\n\nplease find attached invoice {number} ({what}), € {total}, payable within 30 days.\n\nKind regards,\nNora Hale\n\n-- \nNora Hale Translations\nLange Nieuwstraat 27-bis, Utrecht\n",
                key=f"invoice-{number}", files=[(f"invoice-{number}.pdf", pdf(f"Invoice {number}", [what, f"EUR {total}", "30 days net"]))])
    box.add("2024-03-19 11:11", STUDIO, SANNE, "Re: Invoice 2024-002", "Dear Sanne,\n\nI hate this kind of letter, so it is a short one: invoice 2024-002 seems to have been folded. Could you ask accounting to unfold it?\n\nNora\n", reply="invoice-2024-002", key="invoice-2024-002")
    box.add("2024-03-19 11:40", SANNE, STUDIO, "Re: Invoice 2024-002", "It was filed under 'pending: wallpaper'. Paid today, with apologies and a free ticket.\n", reply="invoice-2024-002", key="invoice-2024-002")


def wedding(box):
    news = ("Νόρα μου,\n\nκάθεσαι; Ο Σταύρος μου ζήτησε να παντρευτούμε, στη βάρκα, και παραλίγο να πέσει το δαχτυλίδι στη θάλασσα. "
            "Είπα ναι πριν τελειώσει τη φράση. Ιούνιος 2025, Θεσσαλονίκη. Θα είσαι η κουμπάρα μου!\n\nΕλένη\n")
    thread(box, "wedding", "ΝΕΑ!!!",
           ("2024-08-18 22:31", ELENI, OWNER, news),
           ("2024-08-18 22:40", OWNER, ELENI, "Ελένηηηη! Κλαίω στο τραμ. Ναι σε όλα. Πες στον Σταύρο ότι είναι πολύ τυχερός και ότι πρέπει να μάθει να κρατάει δαχτυλίδια.\n\nΦιλιά,\nΝ.\n\n" + quoted(news)),
           ("2024-08-19 07:12", MUM, [OWNER, ELENI], "My girls,\n\nI have told the whole street. Yiayia Marika wants to know if there will be koliva (no, mother, that is for funerals) and how many people. I said eighty. She said: on which side?\n\nMama\n"),
           ("2024-08-19 09:30", DAD, [OWNER, ELENI], "Very happy. Very proud. What does a father of the bride do with his hands? Asking early.\n\nDad\n"))
    thread(box, "guests", "Guest list, version 9",
           ("2025-01-20 19:20", ELENI, [OWNER, MUM], "Version 9. Red means fights with blue. Please do not add anybody, only tables.\n", {"files": [("guests-v9.csv", "name;side;table;note\nKaterina & Peter Hale;bride;1;\nThia Marika;bride;2;hears only on the left\nNikos & Voula;groom;5;red\nUncle Petros;groom;9;blue\nYuki Yamada;bride;3;arrives Thursday\nAmira Hassan;bride;3;vegetarian\nBram Jansen;bride;3;\n")]}),
           ("2025-01-20 21:05", MUM, [OWNER, ELENI], "You forgot the Papadopouloses. All eleven.\n"),
           ("2025-01-20 21:09", ELENI, [OWNER, MUM], "I did not forget them, mother.\n"),
           ("2025-01-20 21:15", OWNER, [ELENI, MUM], "Table 12, by the kitchen, with the good wine. Nobody fights near the kitchen.\n"))
    box.add("2025-02-02 16:40", STAVROS, OWNER, "Μια ερώτηση (μυστικό)", "Γεια σου Νόρα,\n\nθέλω να μάθω στα αγγλικά τον λόγο μου για τους δικούς σας. Μπορείς να τον διορθώσεις; Μην πεις τίποτα στην Ελένη.\n\nDear family Hale, I am not a man of many words, but I have one boat and one heart and both are now Eleni's.\n\nΣταύρος\n", charset="iso-8859-7", cte="8bit", key="speech")
    box.add("2025-02-02 17:20", OWNER, STAVROS, "Re: Μια ερώτηση (μυστικό)", "Αγαπητέ Σταύρο,\n\nμην αλλάξεις ούτε λέξη.\n\nΝόρα\n", key="speech", reply="speech")
    box.add("2025-03-03 12:00", YIAYIA, OWNER, "Η συνταγή", "Χρυσό μου,\n\nγια το γαλακτομπούρεκο: ένα λίτρο γάλα, 150 γραμμάρια σιμιγδάλι ψιλό, 4 αυγά, 200 γραμμάρια ζάχαρη, βανίλια, φύλλο, βούτυρο όσο πάρει. Το σιρόπι ζεστό, το γλυκό κρύο. Ποτέ και τα δύο ζεστά! Η μητέρα σου το κάνει λάθος σαράντα χρόνια.\n\nΣε φιλώ\nη θεία Μαρίκα\n")
    box.add("2025-05-06 15:15", ("Atelier Filo", "fittings@atelierfilo.example.com"), OWNER, "Your dress is finished", "Dear Nora,\n\nthe green is exactly the green you wanted, and it now has pockets. It leaves today with ParcelPoint.\n\nAtelier Filo\n", files=[("dress.png", picture(5))])
    thread(box, "flight-gr", "Your flight to Thessaloniki",
           ("2025-02-27 23:58", AIRLINE, OWNER, "Booking HRN7QK\n\nWed 18 June 2025  Amsterdam 08:05 - Thessaloniki 12:15  HR 433\nTue 24 June 2025  Thessaloniki 13:10 - Amsterdam 15:40  HR 434\n\n1 passenger: HALE/NORA MS\n1 bag 23 kg\nTotal € 264.18\n", {"files": [("itinerary.pdf", pdf("Heron Air HRN7QK", ["18 JUN AMS-SKG 0805 1215 HR433", "24 JUN SKG-AMS 1310 1540 HR434", "HALE/NORA MS"]))]}),
           ("2025-06-17 14:00", AIRLINE, OWNER, "Check-in is open for HR 433. Seat 14A is yours.\n", {"subject": "Check in now: HR 433 to Thessaloniki"}))
    thread(box, "photos", "The photos!!",
           ("2025-06-29 20:20", ELENI, [OWNER, MUM, DAD], "Here are the first ones. In number three Dad knows exactly what to do with his hands: he holds the cake. In number four everybody dances but the priest, and the priest taps.\n\nΕλένη Νικολάου (!)\n",
            {"files": [("boat.png", picture(21)), ("cake.png", picture(22)), ("dance.png", picture(23))]}),
           ("2025-06-29 21:12", DAD, [ELENI, OWNER, MUM], "I have printed all of them. The shop asked if it was a commercial order.\n"),
           ("2025-06-30 08:02", OWNER, [ELENI, MUM, DAD], "I was there and I still cried at the photographs. Number four goes on my wall, next to the map of Göteborg.\n\nN.\n"))


def japan(box):
    thread(box, "yuki", "京都に来る?",
           ("2024-06-02 14:05", YUKI, OWNER, "ノラへ\n\n元気?十月に京都に来るって本当?紅葉には少し早いけど、金木犀の香りがいちばんいい季節です。うちに泊まってもいいし、古い旅館に一泊するのもおすすめ。\n\n由紀\n"),
           ("2024-06-02 20:30", OWNER, YUKI, "由紀さん、\n\n本当です!十月四日から十八日まで。日本語はまだ「これは鉛筆です」ぐらいですが、頑張っています。\n\nOne night in an old ryokan sounds wonderful. Could you help me to write to them?\n\nノラ\n"),
           ("2024-06-03 09:12", YUKI, OWNER, "もちろん。下書きを送ります。「十月十日、一名、一泊二食付きで予約したいのですが」だけで大丈夫。\n", {"charset": "iso-2022-jp"}),
           ("2024-10-20 22:00", OWNER, YUKI, "由紀さん、\n\n無事に帰りました。金木犀の香りの石鹸をかばんに入れたら、服が全部京都になりました。\n\nThe photo is the river at seven in the morning, when you said nothing for an hour and I understood all of it.\n\nノラ\n", {"files": [("kamogawa.png", picture(31))]}),
           ("2024-10-21 10:45", YUKI, OWNER, "ノラの日本語、すごく上手になったね。来年の六月、ギリシャで会いましょう!\n", {"charset": "shift_jis", "cte": "8bit"}))
    thread(box, "ryokan", "宿泊予約のお願い(十月十日)",
           ("2024-06-04 19:00", OWNER, RYOKAN, "はじめまして。ノラ・ヘイルと申します。\n十月十日、一名、一泊二食付きで予約したいのですが、お部屋は空いていますでしょうか。\n魚は食べますが、肉は食べません。\n\nよろしくお願いいたします。\n"),
           ("2024-06-05 08:30", RYOKAN, OWNER, "ノラ・ヘイル様\n\nご予約ありがとうございます。十月十日(木)、一泊二食付き、お一人様 28,600円(税込)で承りました。お食事は魚と野菜の献立にいたします。チェックインは十五時からでございます。\n\n旅館 藤の家\n京都市東山区\n", {"charset": "euc-jp", "cte": "8bit"}),
           ("2024-10-12 11:11", RYOKAN, OWNER, "ヘイル様\n\nこの度はお泊まりいただきありがとうございました。お忘れ物(緑の手袋、片方)をお預かりしております。由紀様にお渡しすればよろしいでしょうか。\n", {"charset": "iso-2022-jp"}))
    box.add("2024-06-15 01:12", AIRLINE, OWNER, "Your flight to Osaka", "Booking HRN2ZP\n\nThu 3 October 2024  Amsterdam 10:25 - Osaka Kansai 07:05 (+1)  HR 871\nFri 18 October 2024  Osaka Kansai 11:40 - Amsterdam 18:20  HR 872\n\nHALE/NORA MS, seat 38K\nTotal € 871.40\n",
            files=[("itinerary.pdf", pdf("Heron Air HRN2ZP", ["03 OCT AMS-KIX 1025 0705+1 HR871", "18 OCT KIX-AMS 1140 1820 HR872"]))])
    box.add("2024-10-03 07:40", AIRLINE, OWNER, "HR 871 is delayed by 50 minutes", "Dear passenger,\n\nHR 871 to Osaka now leaves at 11:15 from gate E19. Reason: late arrival of the aircraft.\n")
    box.add("2024-10-09 06:30", OWNER, [MUM, DAD, ELENI], "Postcard without a stamp", "Dear all,\n\nI walked up a mountain through ten thousand red gates and down again through rain. I ate something I could not name and then a second one. My Japanese is good enough to apologise in all situations.\n\nTomorrow: the ryokan, a bath, silence.\n\nLove,\nN.\n", files=[("gates.png", picture(33))])
    box.add("2024-10-16 12:00", WEI, OWNER, "你在京都吗?", "诺拉:\n\n由紀说你在京都!我下周去大阪开会,可惜正好错过你。下次来上海,我请你吃小笼包。附上我们当年在莱顿的合影,你还记得那辆没有刹车的自行车吗?\n\n陈伟\n", charset="gb18030", cte="base64", files=[("leiden-2014.png", picture(35))], key="wei")
    box.add("2024-10-16 22:10", OWNER, WEI, "Re: 你在京都吗?", "伟!\n\nOf course I remember the bicycle. The canal remembers it too. 上海见!\n\n诺拉\n", key="wei", reply="wei")


def cat(box):
    thread(box, "adopt", "Adoptie: kat nr. 2024-311",
           ("2024-12-09 18:30", OWNER, SHELTER, "Goedenavond,\n\nOp jullie site staat een grijze kater met één wit sokje, nummer 2024-311, 'houdt van kranten'. Ik werk thuis en heb veel kranten. Is hij er nog?\n\nNora Hale\n"),
           ("2024-12-10 10:05", SHELTER, OWNER, "Hallo Nora,\n\nJa, hij is er nog. Hij heet nu Pluisje maar luistert er niet naar. Kom zaterdag tussen 13 en 15 uur langs.\n\nTeam adoptie\n"),
           ("2024-12-14 15:30", SHELTER, OWNER, "Gefeliciteerd! In de bijlage het adoptiecontract en zijn paspoort. Binnen twee weken naar de dierenarts, graag.\n", {"files": [("adoptiecontract.pdf", pdf("Adoptiecontract 2024-311", ["Kater, grijs, 3 jaar, gechipt", "Nieuwe naam: Miso"]))]}))
    box.add("2024-12-14 21:02", OWNER, [MUM, DAD, ELENI, BRAM, FATIMA, YUKI], "Meet Miso", "He is under the sofa. All you can see is one white sock. He has already read the newspaper.\n\nN. & M.\n", files=[("sock.png", picture(41))], key="miso")
    box.add("2024-12-14 21:10", BRAM, OWNER, "Re: Meet Miso", "A soup named cat.\n", reply="miso", key="miso")
    box.add("2024-12-15 01:30", YUKI, OWNER, "Re: Meet Miso", "味噌ちゃん!🐈 かわいい。靴下一本だけ見える写真、最高です。\n", reply="miso", key="miso")
    box.add("2024-12-15 09:00", DAD, OWNER, "Re: Meet Miso", "Does he need a chair? I could build him a chair.\n", reply="miso", key="miso")
    thread(box, "vet", "Miso: vaccination",
           ("2024-12-27 09:00", VET, OWNER, "Dear Nora,\n\nMiso is due for his first vaccination with us: Thursday 9 January, 17:20. Please bring the passport and, if possible, the cat.\n"),
           ("2025-01-09 18:40", VET, OWNER, "Thank you for your visit. Weight 4.6 kg, heart and teeth fine, temper philosophical. Next visit in a year.\n\nConsultation and vaccine: € 68.50, paid.\n", {"files": [("invoice-miso.pdf", pdf("Vet at the Park", ["Miso, cat, 4.6 kg", "Vaccination: EUR 68.50"]))]}),
           ("2026-01-08 09:00", VET, OWNER, "Dear Nora,\n\nit is that time again: Miso, Tuesday 20 January, 17:00. Last year he opened the carrier himself; please use the strap.\n"))
    thread(box, "sitting", "Cat-sitting in June?",
           ("2025-05-25 19:00", OWNER, FATIMA, "Dear Fatima,\n\nwould you look after Miso from 18 to 24 June? He eats at seven and at seven. He believes that he also eats at five.\n\nNora\n"),
           ("2025-05-25 19:33", FATIMA, OWNER, "With joy. My daughter has made him a timetable with drawings. Five o'clock is not on it.\n"),
           ("2025-06-21 17:05", FATIMA, OWNER, "He has persuaded my daughter about five o'clock. Otherwise all is well. Enjoy the wedding!\n", {"files": [("five-oclock.png", picture(44))]}))


def running(box):
    thread(box, "half", "The half marathon list",
           ("2024-05-07 21:30", BRAM, [OWNER, FATIMA], "So. Twelve people. You organise the bus, I organise the excuses?\n"),
           ("2024-05-07 21:41", OWNER, [BRAM, FATIMA], "I organise the bus if you run all of it, without stopping for stroopwafels.\n"),
           ("2024-09-24 20:15", FATIMA, [OWNER, BRAM], "My knee makes a sound like a door. Is that normal?\n"),
           ("2024-09-24 20:20", OWNER, [FATIMA, BRAM], "Mine too. I have an appointment with Femke on Thursday, she takes new patients. Number below, also for doors.\n\nFemke Bos, 030 555 0177\n"))
    thread(box, "physio", "Appointment",
           ("2024-09-24 11:02", OWNER, PHYSIO, "Dear Ms Bos,\n\nmy left knee hurts after about fourteen kilometres, on the outer side. The half marathon is on 13 October, two days after I should rest, and I am in Japan until the 18th. I see the problem as I write it.\n\nIs there a time this week?\n\nNora Hale\n"),
           ("2024-09-24 12:30", PHYSIO, OWNER, "Dear Nora,\n\nThursday 16:30. And if you are in Japan on the 13th you will not run in Utrecht on the 13th, which solves half of it.\n\nFemke\n"),
           ("2024-09-26 18:10", PHYSIO, OWNER, "As promised, the exercises: 1. side steps with the band, 3 x 15; 2. single-leg bridge, 3 x 10; 3. stairs, slowly, down.\nIliotibial band, nothing torn. You may run the river in Kyoto at an easy pace; swap your start for the spring.\n\nFemke\n", {"files": [("exercises.txt", "1. Side steps with band 3 x 15\n2. Single-leg bridge 3 x 10\n3. Stairs down, slowly\n")]}))
    box.add("2024-10-14 23:40", OWNER, BRAM, "Results?!", "Bram,\n\nthe club list says that I ran 1:58:41. I was in Kyoto. Who wore my number?\n\nN.\n", key="bib")
    box.add("2024-10-15 07:02", BRAM, OWNER, "Re: Results?!", "Fatima's sister-in-law. She is faster than you and very sorry. Willem does not know. The bus was splendid.\n", key="bib", reply="bib")
    box.add("2025-04-13 13:30", OWNER, [PHYSIO, BRAM, FATIMA], "2:01:15", "In person this time. Thank you all. The knee says nothing, which is the highest praise.\n\nN.\n")


def family(box):
    thread(box, "dad-computer", "It is doing it again",
           ("2023-10-29 18:02", DAD, OWNER, "Dear Nora,\n\nthe computer is doing it again. The letters are enormous. I can see eleven words.\n\nDad\n"),
           ("2023-10-29 18:10", OWNER, DAD, "Ctrl and 0. Zero, not the letter.\n"),
           ("2023-10-29 18:55", DAD, OWNER, "The letter does something else. It is done now. You are a genius. Your mother says eat something green.\n"),
           ("2023-10-29 19:01", OWNER, DAD, "I had a green apple on the train. Love to Mama.\n"))
    box.add("2023-12-22 10:10", MUM, [OWNER, ELENI], "Christmas list", "For the table: I make the dolmades, Eleni the salad, Nora the bread (the dark one), Peter the fire. Nobody makes a scene.\n\nYou arrive on the 23rd at 16:40? Papa is at the station from 15:00, you know him.\n")
    box.add("2024-01-07 20:20", OWNER, MUM, "Home again", "Mama,\n\nI am home, the heating works, your jar of olives leaked on nothing but my conscience. Thank you for everything. The recipe you asked for:\n\n" + "400 g rye flour, 380 g water, 80 g starter, 9 g salt. Tin. 230 degrees, then 190. One hour.\n\nN.\n")
    thread(box, "passport", "Your passport number",
           ("2024-07-10 12:00", MUM, OWNER, "Nora, for the insurance I need the number of your passport and your blood group. Send by telephone please, not by mail, Papa has read an article.\n"),
           ("2024-07-10 12:30", OWNER, MUM, "Papa is right. I will call at eight. (The blood group is the same as always.)\n"))
    thread(box, "garden", "Figs",
           ("2024-08-30 08:00", DAD, [OWNER, ELENI], "The fig tree has given 212 figs. I have counted because nobody believes me. What does one do with 212 figs?\n"),
           ("2024-08-30 08:40", ELENI, [OWNER, DAD], "Jam, 4 kg figs, 1.5 kg sugar, 3 lemons, bay leaf. Slowly.\n"),
           ("2024-09-02 18:00", DAD, [OWNER, ELENI], "19 jars. There are still figs.\n", {"files": [("jars.png", picture(51))]}))
    box.add("2025-03-21 09:09", MUM, OWNER, "Operation", "My Nora,\n\ndo not be frightened, it is the eye and it is Tuesday week, 08:00, St. Luke's, twenty minutes and I go home the same day. Papa drives. I tell you so that you do not hear it from Marika, who tells it with candles.\n\nMama\n", key="eye")
    box.add("2025-03-21 09:15", OWNER, MUM, "Re: Operation", "I am coming. I have looked, there is a flight on Monday evening. No discussion, you can discuss with me there.\n\nN.\n", key="eye", reply="eye")
    box.add("2025-04-02 19:30", MUM, [OWNER, ELENI], "Re: Operation", "I can see the neighbour's cat from the kitchen. It is much uglier than I thought. Everything went well. Nora cooks, Papa reads to me. I recommend it to everybody.\n", key="eye", reply="eye")
    box.add("2026-05-03 11:00", DAD, OWNER, "Seventy", "Dear Nora,\n\nI shall be seventy on 12 September and I do not want a party. Your mother says that this means I want a party. Could you be here, in case she is right?\n\nDad\n", key="seventy")
    box.add("2026-05-03 11:20", OWNER, DAD, "Re: Seventy", "Dear Dad,\n\nI will be there not for the party that you do not want. Eleni too, plus one very small one by then (did she tell you? she told you).\n\nN.\n", key="seventy", reply="seventy")
    box.add("2026-05-03 11:24", DAD, OWNER, "Re: Seventy", "She told me. I have started on a chair.\n", key="seventy", reply="seventy")
    box.add("2026-08-21 06:15", STAVROS, [OWNER, MUM, DAD], "Δάφνη", "Γεννήθηκε στις 4:52. 3.240 γραμμάρια, μαύρα μαλλιά, φωνή σαν κόρνα πλοίου. Τη λένε Δάφνη. Η Ελένη κοιμάται, εγώ δεν θα ξανακοιμηθώ ποτέ από τη χαρά μου.\n\nΣταύρος\n", files=[("daphne.png", picture(61))], key="daphne")
    box.add("2026-08-21 06:40", OWNER, [STAVROS, ELENI], "Re: Δάφνη", "Καλωσόρισες, Δάφνη! 💚 Ένα δαχτυλίδι, μια βάρκα και τώρα αυτό. Έρχομαι.\n\nη νονά σου\n", key="daphne", reply="daphne")


def friends(box):
    thread(box, "amira", "من القاهرة",
           ("2023-11-20 19:45", AMIRA, OWNER, "عزيزتي نورا،\n\nكيف حالك؟ القاهرة باردة هذه الأيام وأنا أشتاق إلى مقاهي أوترخت. انتهيت من ترجمة الرواية أخيرًا، ٣٨٠ صفحة! سأزورك في الربيع إن شاء الله.\n\nمع حبي،\nأميرة\n"),
           ("2023-11-20 22:10", OWNER, AMIRA, "Amira!\n\n380 pages! ألف مبروك! The sofa is yours in spring, and the café at the corner still keeps your table.\n\nنورا\n"),
           ("2024-04-25 08:30", AMIRA, OWNER, "أصل يوم الجمعة 17 مايو الساعة 14:20، رحلة MS 757. لا تأتي إلى المطار، أعرف الطريق إلى القهوة.\n", {"charset": "windows-1256", "cte": "8bit"}),
           ("2024-05-21 23:00", AMIRA, OWNER, "وصلت إلى البيت بسلام. المعرض كان جميلًا جدًا، وترجمتك أجمل. تركت لك التمر في الخزانة العليا.\n", {"charset": "iso-8859-6", "cte": "base64"}))
    thread(box, "noa", "שלום מחיפה",
           ("2024-02-20 17:00", NOA, OWNER, "נורה יקרה,\n\nקראתי את המאמר שלך על קיפולים ומיד רציתי לכתוב. אצלנו בספרייה יש מפה של חיפה משנת 1918 שמקפלים אותה בשש דרכים שונות. לשלוח לך סריקה?\n\nנועה\n"),
           ("2024-02-20 19:30", OWNER, NOA, "נועה!\n\nYes, please send it. Six ways! Mats will need to lie down.\n\nנורה\n"),
           ("2024-02-21 08:10", NOA, OWNER, "מצורפת הסריקה. שימי לב לקפל השלישי (Third fold) - הוא עובר בדיוק דרך הנמל.\n", {"charset": "windows-1255", "cte": "8bit", "files": [("haifa-1918.png", picture(71))]}))
    thread(box, "bruno", "Domingo",
           ("2024-04-10 12:40", BRUNO, OWNER, "Oi Nora!\n\nNão acredito que você se mudou e não me chamou para carregar caixas. Em compensação: domingo, feijoada aqui em casa, meio-dia. Traz aquele pão escuro? E uma cadeira, parece que você só tem uma.\n\nAbraço,\nBruno\n", {"charset": "iso-8859-1", "cte": "quoted-printable"}),
           ("2024-04-10 13:02", OWNER, BRUNO, "Bruno querido,\n\nlevo o pão e a cadeira. Só não levo a culpa.\n\nBeijo,\nNora\n"),
           ("2025-07-03 20:00", BRUNO, OWNER, "Vi as fotos do casamento. O padre batendo o pé é a melhor coisa do ano. Quando você volta a dançar com a gente? Quinta, 20h30, no galpão.\n", {"cte": "8bit"}))
    thread(box, "minji", "번역 질문",
           ("2024-11-11 10:00", MINJI, STUDIO, "노라 씨 안녕하세요,\n\n베를린 번역가의 날에서 만난 김민지입니다. '접다'라는 단어를 영어로 옮길 때 fold와 crease 중 어느 것이 좋을까요? 종이접기에 관한 시집을 번역하고 있습니다.\n\n김민지 드림\n", {"charset": "euc-kr", "cte": "8bit"}),
           ("2024-11-11 14:30", STUDIO, MINJI, "민지 씨,\n\nfold for what the hand does, crease for what the paper remembers. 시집이 나오면 꼭 보내 주세요!\n\n노라\n"),
           ("2025-12-02 09:15", MINJI, STUDIO, "시집이 나왔습니다! 첫 장에 노라 씨의 문장을 그대로 썼어요: “종이가 기억하는 것”. 정말 감사합니다. 📖\n", {"files": [("cover.png", picture(73))]}))
    thread(box, "olena", "Лист від Олени",
           ("2023-12-18 16:20", OLENA, OWNER, "Люба Норо,\n\nдякую за посилку! Вовняні шкарпетки теплі, а книжку я вже прочитала двічі. У нас сніг по коліна, діти зробили снігову кішку. Колись приїдеш, і ми підемо пити каву на площі, як обіцяли.\n\nОбіймаю,\nОлена\n", {"charset": "koi8-u", "cte": "8bit"}),
           ("2023-12-18 18:00", OWNER, OLENA, "Люба Олено,\n\nI am so glad that it arrived. A snow cat! Я приїду. Кава за мною.\n\nНора\n"),
           ("2025-12-19 15:00", OLENA, OWNER, "Норо, з наступаючим! Діти передають малюнок для кота Місо. Він на малюнку їсть шкарпетку.\n", {"charset": "windows-1251", "cte": "quoted-printable", "files": [("miso-by-the-children.png", picture(75))]}))
    thread(box, "priya", "दिवाली",
           ("2023-11-12 08:00", PRIYA, OWNER, "प्रिय नोरा,\n\nदिवाली की बहुत-बहुत शुभकामनाएँ! 🪔 इस साल माँ ने सौ दीये जलाए और बिल्ली डर गई। तुम कब आ रही हो?\n\nप्रिया\n"),
           ("2023-11-12 09:30", OWNER, PRIYA, "Happy Diwali, Priya! शुभ दीपावली! I am coming when I can pronounce the names of all the sweets, so 2031.\n\nNora\n"),
           ("2025-10-20 08:05", PRIYA, OWNER, "शुभ दीपावली, नोरा! 2031 बहुत दूर है। टिकट सस्ते हैं, फरवरी में आओ।\n"))
    thread(box, "market", "Flea market find",
           ("2024-03-10 18:00", OWNER, MATS, "Lieber Mats,\n\nauf dem Flohmarkt: ein Faltplan von Köln, 1936, mit Bleistiftnotizen. Fünf Euro. Er gehört dir, wenn du mir sagst, was »Knick« auf Englisch heißt.\n\nNora\n"),
           ("2024-03-10 18:45", MATS, OWNER, "Liebe Nora,\n\n„kink“. Und jetzt her damit.\n\nM.\n", {"charset": "windows-1252", "cte": "8bit"}))
    forwarded = EmailMessage(policy=POLICY)
    forwarded["From"] = "Hugo Prins <hugo@example.org>"
    forwarded["To"] = "letter@canal.example.com"
    forwarded["Subject"] = "The lamps"
    forwarded["Date"] = "Mon, 08 Sep 2025 21:00:00 +0200"
    forwarded["Message-ID"] = "<lamps.1@example.org>"
    forwarded.set_content("To the lady who translated the piece about me: my granddaughter in Leeds read it to her class. They want to know if I was ever afraid in the dark. Tell them: only of bicycles.\n\nHugo Prins\n")
    box.add("2025-09-09 09:00", ("Canal Letter", "office@canal.example.com"), STUDIO, "Fwd: The lamps", "This came for you. We have all read it twice.\n", files=[("lamps.eml", forwarded)])
    box.add("2025-02-14 08:08", BRAM, OWNER, "=?", "Roses are red,\nThursday is grey,\nwill you run with me\nfrom the bridge, at midday?\n\n(asking as a friend. asking as more than a friend. asking badly.)\n\nBram\n", key="valentine")
    box.add("2025-02-14 08:30", OWNER, BRAM, "Re: =?", "Yes.\n\nAlso: the subject of your message is broken, and it is the best subject I have ever had.\n\nN.\n", key="valentine", reply="valentine")
    box.add("2026-01-01 00:20", BRAM, OWNER, "2026", "Happy new year from the other end of the sofa. Miso and I have decided that you should stop working now.\n\nB.\n")
    box.add("2026-07-20 21:45", OWNER, [BRAM], "List for the boat", "bread (me)\ncheese, the goat one (bought)\ncherries (eaten; buy again)\nharness for Miso (he will not wear it, but we will have tried)\nthe map. the paper one.\n")
    box.add("2026-09-01 08:00", SANNE, STUDIO, "Next: Folded Seas", "Dear Nora,\n\nthe follow-up is approved. Folded Seas: nautical charts, 2027 to 2028, five languages, and we would like you to lead all of the texts. Not 'translate'. Lead.\n\nSay yes, then we talk about money.\n\nSanne\n", key="seas")
    box.add("2026-09-01 08:06", STUDIO, SANNE, "Re: Next: Folded Seas", "Yes.\n\nNow let us talk about money.\n\nNora\n", key="seas", reply="seas")
    vcard = "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Femke Bos\r\nTEL:030 555 0177\r\nEMAIL:femke@bosfysio.example.com\r\nEND:VCARD\r\n"
    box.add("2024-09-24 20:31", OWNER, FATIMA, "Femke's card", "Here, as a card, so that you cannot lose it.\n", files=[("femke-bos.vcf", vcard)])
    # Text that looks like the line between two messages.
    box.add("2025-05-02 19:19", BRAM, OWNER, "the poem you asked for", "From the bridge I saw the river,\nFrom the river saw the bridge.\n\nFrom nora@example.org Fri May  2 19:19:00 2025\n(this line is part of the poem. archives hate it.)\n\n>From here on it is prose.\n")
