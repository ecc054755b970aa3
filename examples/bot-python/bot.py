"""A chat bot that hands its customer over to a person at 8x8. The customer is who types in this terminal.

It has one customer and keeps everything in memory; a bot in production keeps events and conversations in a database.
"""

import os, sys, threading

import bridge

conversation = None  # with a person, if there is one; otherwise the customer talks to the bot
lock = threading.Lock()  # held while a conversation is opened: its first events can arrive before its id


def show(line):
    """Prints a line in one piece: events are handled in threads of their own."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def handle(event):
    global conversation
    with lock:
        if event.get("conversationId") != conversation:
            return
        data = event.get("data", {})
        match event["eventType"]:
            case "MEMBERS_CHANGED" if data.get("memberType") == "agent" and data.get("change") == "joined":
                show(f"bot: {data.get('id')} has joined.")
            case "MESSAGE" if data.get("sender", {}).get("type") == "agent":
                show(f"{data['sender'].get('id')}: {data.get('text') or '(a file or a card)'}")
            case "CONVERSATION_UPDATE" if data.get("state") == "idle":
                conversation = None
                show("bot: The conversation is over, I am back.")


def hear(text):
    global conversation
    if conversation:
        bridge.call(f"/{conversation}/messages", {"authorType": "user", "text": text})
    elif text != "person":
        show('bot: I do not know. Write "person" to talk to one.')
    else:
        history = [{"authorType": "user", "text": "I want to talk to a person."}]  # what the agent reads first
        with lock:
            created = bridge.call("", {"user": {"name": "Customer", "language": "en"}, "history": {"messages": history}})
            conversation = created["conversationId"]
        show("bot: I have asked for a person.")


sys.stdout.reconfigure(line_buffering=True, errors="replace")  # a text can hold half of a surrogate pair
bridge.serve(int(os.environ.get("PORT", "9000")), handle)
show('bot: How can I help? Write "person" to talk to one.')
for line in sys.stdin:
    try:
        hear(line.strip())
    except Exception as error:
        show(f"bot: That did not get through ({error}).")
if conversation:  # the customer leaves
    bridge.call(f"/{conversation}/participants/user", {"removed": True}, "PATCH")
