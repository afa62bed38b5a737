"""Messages of five invented conversations, each line with what it is about. Written by hand; the order is that of time."""
GROUPS = {"family": "Hale family", "runners": "Dom Runners", "flat": "Lange Nieuwstraat 27", "desk": "Translators' desk", "wedding": "Eleni and Stavros"}
# (group, sender, topic, text)
LINES = [
    ("flat", "Jan van Dam", "boiler", "The boiler mechanic comes tomorrow between eight and ten."),
    ("flat", "Nora", "boiler", "It shows error E4 again and the radiators are cold."),
    ("flat", "Jan van Dam", "boiler", "Did you try to top up the water pressure of the boiler?"),
    ("flat", "Nora", "boiler", "Yes, 1.8 bar. It heats for a minute and then it stops."),
    ("flat", "Nora", "smalltalk", "ok"),
    ("flat", "Bewoner 25", "bicycle", "Somebody left a bicycle in front of the cellar door, again."),
    ("flat", "Bewoner 29", "bicycle", "It is a blue bike with a child seat. Not mine."),
    ("flat", "Jan van Dam", "bicycle", "Bikes that stand in the hallway will be removed on Friday."),
    ("flat", "Bewoner 25", "rubbish", "Paper is collected on the first Tuesday, glass never."),
    ("flat", "Bewoner 29", "rubbish", "Who puts the bins out this week? It is my turn next week."),
    ("flat", "Nora", "rubbish", "I did the bins. The garbage truck came at six, you heard it."),
    ("flat", "Jan van Dam", "roof", "The roofers put up scaffolding from Monday because of the leak."),
    ("flat", "Bewoner 29", "roof", "The leak is above my bed, so thank you."),
    ("flat", "Bewoner 25", "party", "We are having a party on Saturday until one. Come by, or bring earplugs."),
    ("flat", "Bewoner 29", "party", "Parties are fine, drums are not."),
    ("flat", "Nora", "smalltalk", "haha yes"),
    ("runners", "Willem", "intervals", "Thursday: eight times four hundred metres, nineteen hundred sharp."),
    ("runners", "Bram", "intervals", "My legs remember the last intervals. They say no."),
    ("runners", "Willem", "race", "Registration for the half marathon closes on Sunday at midnight!"),
    ("runners", "Nora", "race", "Registered! Number 4412. What is the fee paid for, exactly?"),
    ("runners", "Yasmin", "race", "I registered as well, see you at the start of the marathon."),
    ("runners", "Bram", "injury", "Pulled a muscle in my calf. Two weeks without running, the doctor says."),
    ("runners", "Nora", "injury", "My knee hurts when I go down the stairs, is that the running?"),
    ("runners", "Yasmin", "injury", "Ice it, and see a physiotherapist before it gets worse."),
    ("runners", "Willem", "shoes", "The shoe shop gives members twenty per cent off until May."),
    ("runners", "Yasmin", "shoes", "Which shoes do you wear on gravel? Mine slip."),
    ("runners", "Bram", "shoes", "Old ones. New shoes give you blisters."),
    ("runners", "Willem", "route", "The path along the Kromme Rijn is flooded, we meet at the observatory."),
    ("runners", "Yasmin", "route", "Is the observatory route lit? I run without a lamp."),
    ("runners", "Willem", "smalltalk", "see you tonight"),
    ("runners", "Nora", "smalltalk", "running late, start without me"),
    ("runners", "Bram", "soup", "Who cooks the soup after the night run? I vote for lentils."),
    ("runners", "Yasmin", "soup", "I will bring harira, my mother's recipe."),
    ("family", "Peter", "computer", "The screen is upside down. I have touched nothing."),
    ("family", "Eleni", "computer", "Dad, press control, alt and the arrow that points up."),
    ("family", "Peter", "computer", "You are both geniuses. The computer is well again."),
    ("family", "Katerina", "eye", "The doctor was pleased with my eye. I may read, but not cry."),
    ("family", "Nora", "eye", "Do you still need the drops after the operation?"),
    ("family", "Katerina", "eye", "Three times a day. The surgery was nothing, the drops are a punishment."),
    ("family", "Eleni", "flight", "We land in Athens at noon, can somebody pick us up from the airport?"),
    ("family", "Peter", "flight", "I will drive to the airport. Which terminal, which flight number?"),
    ("family", "Eleni", "flight", "Aegean 621, terminal B. Our suitcases are enormous."),
    ("family", "Katerina", "recipe", "For the galaktoboureko you need semolina, milk, eggs and patience."),
    ("family", "Nora", "recipe", "How much sugar is in the syrup? Mine was like glass."),
    ("family", "Katerina", "recipe", "Four hundred grams, and never stir it."),
    ("family", "Eleni", "baby", "Daphne slept for six hours!! All of us are new people."),
    ("family", "Peter", "baby", "The cradle is finished. It rocks in both directions."),
    ("family", "Katerina", "baby", "Send more photographs of the baby, the neighbours are waiting."),
    ("family", "Nora", "birthday", "What does Dad want for his seventieth birthday?"),
    ("family", "Eleni", "birthday", "He says no presents. He means a lathe."),
    ("family", "Katerina", "birthday", "We order one cake for forty people and tell him it is for ten."),
    ("family", "Peter", "smalltalk", "Good night all"),
    ("family", "Katerina", "smalltalk", "good night my treasure"),
    ("desk", "Mats", "deadline", "The deadline moved to the ninth. I did not ask for it, it just moved."),
    ("desk", "Nora", "deadline", "Then I deliver the wall texts on the eighth and sleep on the ninth."),
    ("desk", "Priya", "glossary", "Where do we keep the glossary? I need the Hindi word for crease."),
    ("desk", "Nora", "glossary", "In the shared folder, the file is called terms-v12."),
    ("desk", "Mats", "glossary", "Version 12 still says fold for Knick. We agreed on crease!"),
    ("desk", "Amira", "invoice", "The museum has not paid my invoice from March, is that usual?"),
    ("desk", "Nora", "invoice", "Write them one friendly reminder. Mine were paid after sixty days."),
    ("desk", "Priya", "invoice", "I charge interest after the second reminder. Payment comes the same day."),
    ("desk", "Amira", "novel", "My translation of the novel is with the printer, 380 pages."),
    ("desk", "Mats", "novel", "Congratulations! Does the translator's name stand on the cover?"),
    ("desk", "Amira", "novel", "On the cover and on the spine. I cried in the printing house."),
    ("desk", "김민지", "novel", "시집 번역이 끝났어요. 표지가 정말 예뻐요!"),
    ("desk", "김민지", "glossary", "용어집에서 '접다'를 찾을 수 없어요."),
    ("desk", "山田", "novel", "小説の翻訳が終わりました。東京の出版社に送ります。"),
    ("desk", "山田", "deadline", "締め切りは来週の金曜日です。"),
    ("desk", "Mats", "german", "Die Rechnungen an den Verlag schicke ich morgen, und die Belege auch."),
    ("desk", "Mats", "german", "Der Verlag hat die Rechnung bezahlt, ich bin sprachlos."),
    ("desk", "Nora", "smalltalk", "tea?"),
    ("wedding", "Eleni", "dress", "The dress has pockets!!! The seamstress is a saint."),
    ("wedding", "Nora", "dress", "Mine is green, as ordered. Shoes to be discussed."),
    ("wedding", "Stavros", "boat", "The boat for the guests leaves the harbour at four."),
    ("wedding", "Eleni", "boat", "The ferry can take sixty people and one priest."),
    ("wedding", "Stavros", "band", "The band wants an hour's break and eleven dinners."),
    ("wedding", "Eleni", "band", "They are five musicians. Who eats the other six dinners?"),
    ("wedding", "Nora", "speech", "My speech is three minutes long. In two languages."),
    ("wedding", "Stavros", "speech", "Please no jokes about the goat in the speeches."),
    ("wedding", "Eleni", "rings", "Stavros has lost the rings. He says mislaid."),
    ("wedding", "Stavros", "rings", "The rings were in the other jacket. Nobody saw anything."),
    ("wedding", "Eleni", "hotel", "The hotel needs the names of everybody who stays on Sunday night."),
    ("wedding", "Nora", "hotel", "Two rooms, one of them for Aunt Marika with a view of the sea."),
    ("wedding", "Eleni", "weather", "They forecast rain. I have bought forty umbrellas, all white."),
    ("wedding", "Stavros", "weather", "It never rains in June."),
]
SMALL = ["ok", "yes", "haha", "on my way", "thanks!", "good morning", "see you there", "who?", "later", "sounds good", "no idea", "wonderful", "running five minutes late", "call me", "👍"]
SENDERS = {"family": ["Peter", "Katerina", "Eleni", "Nora"], "runners": ["Willem", "Bram", "Yasmin", "Nora"], "flat": ["Jan van Dam", "Nora", "Bewoner 25"], "desk": ["Mats", "Nora", "Priya", "Amira"], "wedding": ["Eleni", "Stavros", "Nora"]}

def records():
    number = 0
    def message(group, sender, text, topic):
        nonlocal number
        day, minute = divmod(number * 37, 60)
        stamp = f"2025-{1 + day // 28 % 12:02}-{1 + day % 28:02}T{8 + number % 12:02}:{minute:02}:00.000Z"
        number += 1
        return {"_id": f"chat-{number:03}", "schema": "https://common.schemas.verida.io/social/chat/message/v0.1.0/schema.json",
                "groupId": group, "groupName": GROUPS[group], "fromName": sender, "messageText": text, "sentAt": stamp}, topic
    for place, (group, sender, topic, text) in enumerate(LINES):
        yield message(group, sender, text, topic)
        for more in range(2):
            small = SMALL[(place * 2 + more) % len(SMALL)]
            yield message(group, SENDERS[group][(place + more) % len(SENDERS[group])], small, "smalltalk")
