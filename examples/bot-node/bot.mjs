// A chat bot that hands its customer over to a person at 8x8. The customer is who types in this terminal.
//
// It has one customer and keeps everything in memory; a bot in production keeps events and conversations in a database.

import { createInterface } from "node:readline";
import { call, serve } from "./bridge.mjs";

let conversation; // with a person, if there is one; otherwise the customer talks to the bot
let opening; // pending while a conversation is opened: its first events can arrive before its id

async function handle({ eventType, conversationId, data = {} }) {
  await opening;
  if (conversationId !== conversation) return;
  if (eventType === "MEMBERS_CHANGED" && data.memberType === "agent" && data.change === "joined") {
    console.log(`bot: ${data.id} has joined.`);
  } else if (eventType === "MESSAGE" && data.sender?.type === "agent") {
    console.log(`${data.sender.id}: ${data.text || "(a file or a card)"}`);
  } else if (eventType === "CONVERSATION_UPDATE" && data.state === "idle") {
    conversation = undefined;
    console.log("bot: The conversation is over, I am back.");
  }
}

async function open() {
  const history = [{ authorType: "user", text: "I want to talk to a person." }]; // what the agent reads first
  const created = await call("", { user: { name: "Customer", language: "en" }, history: { messages: history } });
  conversation = created.conversationId;
}

async function hear(text) {
  if (conversation) {
    await call(`/${conversation}/messages`, { authorType: "user", text });
  } else if (text !== "person") {
    console.log('bot: I do not know. Write "person" to talk to one.');
  } else {
    const opened = open();
    opening = opened.catch(() => {}); // a failure is the customer's to hear, below
    await opened;
    console.log("bot: I have asked for a person.");
  }
}

serve(Number(process.env.PORT ?? 9000), handle, async () => {
  console.log('bot: How can I help? Write "person" to talk to one.');
  for await (const line of createInterface({ input: process.stdin }))
    await hear(line.trim()).catch((error) => console.log(`bot: That did not get through (${error.message}).`));
  if (conversation) await call(`/${conversation}/participants/user`, { removed: true }, "PATCH"); // the customer leaves
  process.exit();
});
