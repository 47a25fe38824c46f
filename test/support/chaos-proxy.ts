import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * A TCP proxy that breaks on command: what a bad network does between Millrace and a source. One proxy stands
 * in front of one server; every command acts on the connections open now and, until `heal`, on later ones.
 */
export interface ChaosProxy extends AsyncDisposable {
  readonly host: string;
  /** Stays the same through `refuse` and `heal`. */
  readonly port: number;
  /** Connections accepted since the start. */
  readonly accepted: () => number;
  /** Connections open now. */
  readonly open: () => number;
  /** Bytes that went from the server to clients since the start. */
  readonly bytesDown: () => number;
  /** Nobody listens any more and every connection is reset: ECONNREFUSED for whoever tries. */
  refuse(): Promise<void>;
  /** Resets every open connection now (RST); new ones are served. */
  cut(): void;
  /** Resets the connection that carries the server's n-th byte from now on; once. */
  cutAfter(bytesDown: number): void;
  /** Resets every connection, also later ones, as soon as it has carried so many of the server's bytes. */
  cutEach(bytesDown: number): void;
  /** Nothing moves in either direction and nobody is told: a stalled peer. */
  stall(): void;
  /** Stalls when the server's n-th byte from now on has passed. */
  stallAfter(bytesDown: number): void;
  /** The server's side is closed and the client never hears of it: what a dead NAT entry leaves behind. */
  halfOpen(): void;
  /** The same for the connection that carries the server's n-th byte from now on; once. */
  halfOpenAfter(bytesDown: number): void;
  /** Every chunk waits that long, in order, both ways. */
  delay(ms: number): void;
  /** Serves again as if nothing had been; stalled connections go on where they stood. */
  heal(): Promise<void>;
}

/** Starts a proxy on a free port of the loopback in front of `target`. */
export async function startChaosProxy(target: {
  readonly host: string;
  readonly port: number;
}): Promise<ChaosProxy> {
  const pairs = new Set<Pair>();
  const state: State = { stalled: false, delayMs: 0, trigger: null, down: 0, each: null };
  let accepted = 0;
  const server = createServer({ allowHalfOpen: true }, (client) => {
    accepted += 1;
    const upstream = connect({ ...target, allowHalfOpen: true });
    const pair: Pair = { client, upstream, halfOpen: false, down: 0 };
    pairs.add(pair);
    const gone = (): void => {
      if (client.destroyed && upstream.destroyed) pairs.delete(pair);
    };
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.setNoDelay(true);
      pump({ pair, from, to, state, fire });
      from.on('error', () => !pair.halfOpen && to.resetAndDestroy());
      from.on('close', () => {
        if (!pair.halfOpen) to.destroy();
        gone();
      });
    }
    if (state.stalled) hold(pair);
  });
  const fire = (pair: Pair): void => {
    if (state.each !== null && pair.down >= state.each) reset(pair);
    const trigger = state.trigger;
    if (trigger === null || state.down < trigger.at) return;
    state.trigger = null;
    if (trigger.what === 'cut') reset(pair);
    else if (trigger.what === 'halve') halve(pair);
    else proxy.stall();
  };
  const listen = (port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => {
        server.off('error', reject);
        resolve();
      });
    });
  const close = (): Promise<void> =>
    new Promise((resolve) => (server.listening ? server.close(() => resolve()) : resolve()));
  await listen(0);
  const { port } = server.address() as AddressInfo;
  const proxy: ChaosProxy = {
    host: '127.0.0.1',
    port,
    accepted: () => accepted,
    open: () => pairs.size,
    bytesDown: () => state.down,
    async refuse() {
      const closed = close();
      for (const pair of pairs) reset(pair);
      await closed;
    },
    cut() {
      for (const pair of pairs) reset(pair);
    },
    cutAfter(bytes) {
      state.trigger = { what: 'cut', at: state.down + bytes };
    },
    cutEach(bytes) {
      state.each = bytes;
    },
    stall() {
      state.stalled = true;
      for (const pair of pairs) hold(pair);
    },
    stallAfter(bytes) {
      state.trigger = { what: 'stall', at: state.down + bytes };
    },
    halfOpen() {
      for (const pair of pairs) halve(pair);
    },
    halfOpenAfter(bytes) {
      state.trigger = { what: 'halve', at: state.down + bytes };
    },
    delay(ms) {
      state.delayMs = ms;
    },
    async heal() {
      Object.assign(state, { stalled: false, delayMs: 0, trigger: null, each: null });
      for (const pair of pairs) {
        // A half-open pair has no server behind it any more: to serve again is to say so.
        if (pair.halfOpen) reset(pair);
        else for (const socket of [pair.client, pair.upstream]) socket.resume();
      }
      if (!server.listening) await listen(port);
    },
    async [Symbol.asyncDispose]() {
      await proxy.refuse();
    },
  };
  return proxy;
}

interface Pair {
  readonly client: Socket;
  readonly upstream: Socket;
  halfOpen: boolean;
  /** Bytes from the server. */
  down: number;
}

interface State {
  stalled: boolean;
  delayMs: number;
  trigger: { readonly what: 'cut' | 'stall' | 'halve'; readonly at: number } | null;
  /** Bytes from the server, of all connections. */
  down: number;
  /** The bytes at which each connection is reset. */
  each: number | null;
}

interface Pump {
  readonly pair: Pair;
  readonly from: Socket;
  readonly to: Socket;
  readonly state: State;
  readonly fire: (pair: Pair) => void;
}

/** Moves chunks one way, in order, with backpressure, through whatever is in force. */
function pump({ pair, from, to, state, fire }: Pump): void {
  let chain: Promise<void> = Promise.resolve();
  let waiting = 0;
  const forward = (act: () => void): void => {
    const ms = state.delayMs;
    // What waits already keeps its place, also when the delay was lifted meanwhile.
    if (ms === 0 && waiting === 0) {
      act();
      return;
    }
    waiting += 1;
    chain = chain
      .then(() => sleep(ms))
      .then(() => {
        waiting -= 1;
        act();
      });
  };
  from.on('data', (chunk: Buffer) => {
    if (pair.halfOpen) return;
    forward(() => {
      if (to.destroyed) return;
      if (!to.write(chunk)) {
        from.pause();
        to.once('drain', () => !state.stalled && from.resume());
      }
    });
    if (from === pair.upstream) {
      state.down += chunk.length;
      pair.down += chunk.length;
      fire(pair);
    }
  });
  from.on('end', () => !pair.halfOpen && forward(() => to.end()));
}

function hold(pair: Pair): void {
  pair.client.pause();
  pair.upstream.pause();
}

function halve(pair: Pair): void {
  pair.halfOpen = true;
  pair.upstream.destroy();
  pair.client.resume();
}

function reset(pair: Pair): void {
  pair.client.resetAndDestroy();
  pair.upstream.resetAndDestroy();
}
