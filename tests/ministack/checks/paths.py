"""What passes through a stack: events, dead letters, tokens, hand-overs and the bot's conversations."""

import base64
import json
import time
import urllib.parse

from world import wait_for

from .calls import (
    clear_token, dead_letters, event_of, invoke, request, schedule, secret, send_signed, token_of)
from .expectations import check, expect, expect_equal

# deliver-message hides a refused message for 2 s, then 4 s: five refusals within three invocations.
OUTAGE_LIMIT = 30


@check("rotation", "generated-secret")
def the_signing_key_is_rotated_when_the_stack_is_created(world, stack):
    """The first rotation fills in what callers log in with: rotate-signing-key takes the four steps."""
    arn = stack.outputs["CallerSecretArn"]

    def rotated():
        return "LastRotatedDate" in world.client("secretsmanager").describe_secret(SecretId=arn)

    wait_for("the first rotation of the caller secret", rotated, limit=15)
    content = secret(world, arn)
    missing = [name for name in ("app_token", "username", "password", "signing_key") if not content.get(name)]
    expect(not missing, f"the caller secret lacks {missing}")
    first = world.client("secretsmanager").get_secret_value(SecretId=arn, VersionStage="AWSPREVIOUS")["SecretString"]
    generated = json.loads(first)["signing_key"]
    expect(generated.isalnum() and len(generated) == 64, "the generated key is not 64 letters and digits")


@check()
def a_signed_event_reaches_the_bot_byte_for_byte(world, stack):
    """The simulated bot platform answers 401 to an event without our app token and its bearer token."""
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    body = event_of(conversation)
    status, _, content = send_signed(world, stack, body)
    expect_equal((status, content), (200, b""), "the response to a signed event")
    wait_for("the event reaches the bot", lambda: world.peers.receipts(conversation))
    expect_equal(world.peers.receipts(conversation), [body], "what the bot got")


@check()
def an_event_that_8x8_sends_reaches_the_bot(world, stack):
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    body = event_of(conversation)
    world.peers.send_event(conversation, "MESSAGE", body)
    wait_for("the event reaches the bot", lambda: world.peers.receipts(conversation))
    expect_equal(world.peers.receipts(conversation), [body], "what the bot got")


@check()
def an_unsigned_or_forged_event_is_refused_with_401(world, stack):
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    body = event_of(conversation)
    unsigned = request(stack.outputs["CallbackUrl"], body, {"content-type": "application/json"})
    forged = request(stack.outputs["CallbackUrl"], body + b" ",
                     {**world.peers.sign(body), "content-type": "application/json"})
    expect_equal((unsigned[0], forged[0]), (401, 401), "the statuses of an unsigned and of a forged event")
    expect_equal(unsigned[2], forged[2], "the bodies of both refusals")


@check()
def an_event_that_the_bot_rejects_goes_to_the_dead_letter_queue(world, stack):
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    world.peers.refuse(conversation, 400)
    body = event_of(conversation)
    expect_equal(send_signed(world, stack, body)[0], 200, "the status of the event")
    messages = wait_for("the event is in the dead-letter queue", lambda: dead_letters(world, stack))
    kept = base64.b64decode(json.loads(messages[0]["Body"])["body"])
    expect_equal(kept, body, "the body in the dead letter")
    expect_equal(messages[0]["Attributes"]["MessageGroupId"], conversation, "the group of the dead letter")
    expect("400" in json.dumps(messages[0].get("MessageAttributes", {})), "the dead letter does not have the bot's status")
    # The next event of the same conversation is not held up.
    world.peers.accept_again(conversation)
    after = event_of(conversation, 2)
    expect_equal(send_signed(world, stack, after)[0], 200, "the status of the next event")
    wait_for("the next event reaches the bot", lambda: world.peers.receipts(conversation))
    expect_equal(world.peers.receipts(conversation), [after], "what the bot got")


@check()
def a_dead_letter_is_listed_and_redriven(world, stack):
    """Within five minutes after its receipt, in which SQS drops what has the same deduplication id."""
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    world.peers.refuse(conversation, 422)
    bodies = [event_of(conversation, number) for number in (1, 2)]
    for body in bodies:
        expect_equal(send_signed(world, stack, body)[0], 200, "the status of the event")

    def listed():
        letters = invoke(world, stack, "ManageDeadLettersFunction", {"operation": "list"})
        found = [letter for letter in letters if letter["conversation_id"] == conversation]
        return found if len(found) == len(bodies) else None

    letters = wait_for("both events are dead letters", listed)
    expect_equal([(letter["event_type"], letter["status"]) for letter in letters], [("MESSAGE", 422)] * 2, "the letters")
    world.peers.accept_again(conversation)
    done = invoke(world, stack, "ManageDeadLettersFunction", {"operation": "redrive", "conversation_id": conversation})
    ids = [[letter["event_id"] for letter in found] for found in (done["redriven"], letters)]
    expect_equal(ids[0], ids[1], "the letters that were redriven")
    wait_for("both events reach the bot", lambda: len(world.peers.receipts(conversation)) == len(bodies))
    expect_equal(world.peers.receipts(conversation), bodies, "what the bot got, in order")


@check()
def events_that_meet_an_outage_of_the_bot_are_retried_and_stay_in_order(world, stack):
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    before = world.peers.refused(503)
    world.peers.refuse(conversation, 503)
    bodies = [event_of(conversation, number) for number in range(1, 5)]
    for body in bodies:
        expect_equal(send_signed(world, stack, body)[0], 200, "the status of the event")
    wait_for("the bot answered five times with 503", lambda: world.peers.refused(503) - before >= 5, OUTAGE_LIMIT)
    expect_equal(world.peers.receipts(conversation), [], "what the bot accepted while it answered 503")
    world.peers.accept_again(conversation)
    wait_for("all events reach the bot", lambda: len(world.peers.receipts(conversation)) >= len(bodies), OUTAGE_LIMIT)
    expect_equal(world.peers.receipts(conversation), bodies, "what the bot got, in order")


@check()
def refresh_tokens_keeps_the_tokens_fresh(world, stack):
    """Invoked as its schedule would, which does not fire on MiniStack."""
    clear_token(world, stack, "BotTokenSecret")
    response = invoke(world, stack, "RefreshTokensFunction", schedule(world, stack, "RefreshTokensFunction"))
    expect_equal(response["failed"], [], "the tokens that were not refreshed")
    expect("bot" in response["refreshed"], f"the bot's token is not refreshed: {response}")
    token = secret(world, stack.physical_id("BotTokenSecret"))
    expect(token.get("access_token") and token.get("expires_at"), "the bot's token is not stored")
    again = invoke(world, stack, "RefreshTokensFunction", schedule(world, stack, "RefreshTokensFunction"))
    expect_equal((again["refreshed"], again["failed"]), ([], []), "a second run")


@check("rotation")
def a_hand_over_is_recorded_and_shown_and_watched(world, stack):
    """watch-handovers is invoked as its schedule would, which does not fire on MiniStack."""
    conversation = world.peers.open_conversation(stack.outputs["ChannelId"])
    queued = {"eventType": "QUEUED", "conversationId": conversation, "timestamp": int(time.time() * 1000),
              "data": {"queueId": "101", "queueName": "Support"}}
    expect_equal(send_signed(world, stack, json.dumps(queued).encode())[0], 200, "the status of the event")
    headers, url = token_of(world, stack), f"{stack.outputs['ConversationsUrl']}/{conversation}/handover"
    wait_for("the hand-over is recorded", lambda: request(url, None, headers, "GET")[0] == 200, 30)
    expect_equal(json.loads(request(url, None, headers, "GET")[2])["state"], "queued", "the state of the hand-over")
    response = invoke(world, stack, "WatchHandoversFunction", schedule(world, stack, "WatchHandoversFunction"))
    expect(response["waiting"] >= 1, f"no customer waits: {response}")


@check("rotation")
def a_caller_gets_a_token_and_a_wrong_password_gets_none(world, stack):
    token_of(world, stack)
    form = urllib.parse.urlencode({
        "grant_type": "password", "username": "live-agent", "password": "wrong",
        "clientid": secret(world, stack.outputs["CallerSecretArn"])["app_token"]}).encode()
    status, _, body = request(stack.outputs["TokenUrl"], form, {"content-type": "application/x-www-form-urlencoded"})
    expect((status, json.loads(body).get("error")) in ((400, "invalid_grant"), (401, "invalid_client")),
           f"a wrong password: {status} {body!r}")


@check("rotation")
def the_bot_opens_a_conversation_and_speaks_in_it(world, stack):
    headers = {**token_of(world, stack), "content-type": "application/json"}
    url = stack.outputs["ConversationsUrl"]
    expect_equal(request(url, b"{}", {"content-type": "application/json"})[0], 401, "a call without credentials")
    new = json.dumps({"user": {"name": "Ada Byron é", "language": "en"}}).encode()
    status, _, body = request(url, new, headers)
    expect_equal(status, 202, f"the status of a new conversation ({body[:300]!r})")
    conversation = json.loads(body)["conversationId"]
    message = json.dumps({"authorType": "user", "text": "Où est ma facture ? 😀"}).encode()
    # With the key the response goes through the table: said once, answered twice.
    for replayed in (None, "true"):
        status, answer_headers, body = request(
            f"{url}/{conversation}/messages", message, {**headers, "idempotency-key": f"key-{conversation}"})
        expect_equal((status, answer_headers.get("Idempotent-Replayed")), (202, replayed),
                     f"the status of a message ({body[:300]!r})")
    expect_equal(world.peers.said(conversation), [["user", "Où est ma facture ? 😀"]], "what was said at 8x8")


@check()
def the_daily_review_finds_everything_in_sync(world, stack):
    response = invoke(world, stack, "RegisterChannelFunction", schedule(world, stack, "RegisterChannelFunction"))
    expect_equal((response.get("in_sync"), response.get("differences")), (True, []), "the review")
