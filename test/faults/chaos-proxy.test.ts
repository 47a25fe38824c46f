import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type ChaosProxy, startChaosProxy } from '../support/chaos-proxy.ts';

// The fault suites are only as good as the faults: each command is seen to do what it says.

test('bytes pass both ways, delayed when asked, in order', async () => {
  await using echo = await echoServer();
  await using proxy = await startChaosProxy(echo);
  const client = await open(proxy);
  client.write('one');
  expect(await reply(client, 3)).toBe('one');
  proxy.delay(60);
  const before = performance.now();
  client.write('two');
  const answer = reply(client, 8);
  await sleep(20);
  proxy.delay(0);
  client.write('three');
  expect(await answer).toBe('twothree');
  expect(performance.now() - before).toBeGreaterThan(55);
  client.destroy();
});

test('refuse answers ECONNREFUSED and heal serves again on the same port', async () => {
  await using echo = await echoServer();
  await using proxy = await startChaosProxy(echo);
  const client = await open(proxy);
  const broken = once(client, 'error');
  await proxy.refuse();
  expect((await broken)[0]).toMatchObject({ code: 'ECONNRESET' });
  await expect(open(proxy)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  await proxy.heal();
  const again = await open(proxy);
  again.write('x');
  expect(await reply(again, 1)).toBe('x');
  again.destroy();
});

test('cutAfter resets in the middle of what the server says, once', async () => {
  await using echo = await echoServer();
  await using proxy = await startChaosProxy(echo);
  const client = await open(proxy);
  proxy.cutAfter(10);
  const broken = once(client, 'error');
  client.write('0123456789');
  expect((await broken)[0]).toMatchObject({ code: 'ECONNRESET' });
  const again = await open(proxy);
  again.write('0123456789ab');
  expect(await reply(again, 12)).toBe('0123456789ab');
  again.destroy();
});

test('cutEach resets every connection that has carried so much, until it is healed', async () => {
  await using echo = await echoServer();
  await using proxy = await startChaosProxy(echo);
  proxy.cutEach(10);
  for (const turn of [1, 2]) {
    const client = await open(proxy);
    client.write('01234');
    expect(await reply(client, 5), `connection ${turn}`).toBe('01234');
    const broken = once(client, 'error');
    client.write('56789');
    expect((await broken)[0]).toMatchObject({ code: 'ECONNRESET' });
  }
  await proxy.heal();
  const again = await open(proxy);
  again.write('0123456789ab');
  expect(await reply(again, 12)).toBe('0123456789ab');
  again.destroy();
});

test('a stall is silent both ways, and what was held arrives when it ends', async () => {
  await using echo = await echoServer();
  await using proxy = await startChaosProxy(echo);
  const client = await open(proxy);
  client.write('a');
  expect(await reply(client, 1)).toBe('a');
  proxy.stall();
  client.write('b');
  const answer = reply(client, 1);
  expect(await Promise.race([answer, sleep(150, 'silence')])).toBe('silence');
  await proxy.heal();
  expect(await answer).toBe('b');
  client.destroy();
});

test.each(['halfOpen', 'halfOpenAfter'] as const)(
  '%s: the server is gone and the client is not told',
  async (how) => {
    await using echo = await echoServer();
    await using proxy = await startChaosProxy(echo);
    const client = await open(proxy);
    if (how === 'halfOpenAfter') proxy.halfOpenAfter(1);
    client.write('a');
    expect(await reply(client, 1)).toBe('a');
    let told = false;
    client.once('close', () => {
      told = true;
    });
    client.once('error', () => {
      told = true;
    });
    if (how === 'halfOpen') proxy.halfOpen();
    client.write('anybody there?');
    await sleep(150);
    expect(told).toBe(false);
    expect(echo.open()).toBe(0);
    // Whoever comes anew is served.
    const other = await open(proxy);
    other.write('b');
    expect(await reply(other, 1)).toBe('b');
    other.destroy();
    await proxy.heal();
    await sleep(50);
    expect(told).toBe(true);
  },
);

async function echoServer(): Promise<{ host: string; port: number; open: () => number } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    open: () => sockets.size,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function open(proxy: ChaosProxy): Promise<Socket> {
  const socket = connect(proxy.port, proxy.host);
  await once(socket, 'connect');
  socket.on('error', () => undefined);
  return socket;
}

/** Exactly that many characters from the server. */
async function reply(socket: Socket, length: number): Promise<string> {
  let text = '';
  while (text.length < length) {
    const [chunk] = await once(socket, 'data');
    text += String(chunk);
  }
  return text;
}
