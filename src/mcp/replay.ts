import type { EventStore, JSONRPCMessage } from '@modelcontextprotocol/server';

/** Events of a session that can be had again, at most; older ones are forgotten. */
const eventsMax = 64;

interface Kept {
  readonly stream: string;
  readonly message: JSONRPCMessage;
}

/** What a session sent last, for a client whose connection broke before the end of an answer. */
export function createReplay(): EventStore {
  const events = new Map<string, Kept>();
  let last = 0;
  return {
    async storeEvent(stream, message) {
      last += 1;
      const id = String(last);
      events.set(id, { stream, message });
      if (events.size > eventsMax) events.delete(String(last - eventsMax));
      return id;
    },
    async getStreamIdForEventId(id) {
      return events.get(id)?.stream;
    },
    async replayEventsAfter(id, { send }) {
      const stream = events.get(id)?.stream;
      if (stream === undefined) return '';
      for (const [later, event] of events)
        if (Number(later) > Number(id) && event.stream === stream) await send(later, event.message);
      return stream;
    },
  };
}
