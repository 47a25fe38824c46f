import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FORMS } from '../attacks/addresses.ts';
import { clientOf, failureOf, get, never, type Served, serve, textOf } from '../support/http-support.ts';

let forbidden: { readonly port: number; readonly connections: () => number; readonly close: () => void };
/** May be reached: port and all. It sends on to whatever its query says. */
let front: Served;

beforeAll(async () => {
  forbidden = await listenEverywhere();
  front = await serve((request, response) => {
    const to = new URL(request.url, 'http://front').searchParams.get('to');
    if (to === null) {
      response.end('[]');
      return;
    }
    // As a hostile server writes it: raw, not as a URL library would.
    response.writeHead(302, { location: Buffer.from(to).toString('latin1') });
    response.end();
  });
});

afterAll(async () => {
  expect(forbidden.connections()).toBe(0);
  forbidden.close();
  await front[Symbol.asyncDispose]();
});

const inPlace = (form: string): string => form.replaceAll('PORT', String(forbidden.port));
const allowed = (): { allow: string[]; allowPrivateHttp: string[] } => ({
  allow: [],
  allowPrivateHttp: [`127.0.0.1:${front.port}`],
});
const refusals = ['host_not_allowed', 'invalid_config'];

describe(`${FORMS.length} forms of forbidden addresses`, () => {
  test('there are enough of them, and all are different', () => {
    expect(new Set(FORMS).size).toBe(FORMS.length);
    expect(FORMS.length).toBeGreaterThanOrEqual(40);
  });

  test('what they must not reach is there, and counts', async () => {
    const service = await listenEverywhere();
    for (const host of ['127.0.0.1', '127.0.0.2', '::1']) {
      const socket = connect(service.port, host);
      await once(socket, 'connect');
      socket.destroy();
    }
    await expect.poll(service.connections).toBe(3);
    service.close();
  });

  test.each(FORMS)('%s as the first URL, and as a next link', async (form) => {
    const url = URL.parse(inPlace(form));
    if (url === null) return; // no URL: nobody can ask for it
    await using first = clientOf(url.href, { network: { allow: [], allowPrivateHttp: [] } });
    expect(refusals).toContain((await failureOf(first.send(get(url.href), never))).code);
    await using next = clientOf(front.origin, { network: allowed() });
    expect(await textOf(next, get(`${front.origin}/`))).toBe('[]');
    expect(refusals).toContain((await failureOf(next.send(get(url.href), never))).code);
    expect(forbidden.connections()).toBe(0);
  });

  test.each(FORMS)('%s as a redirect', async (form) => {
    await using client = clientOf(front.origin, { network: allowed() });
    const url = `${front.origin}/?to=${encodeURIComponent(inPlace(form))}`;
    const ended = await textOf(client, get(url)).catch((error) => error.code);
    // What is no URL as it arrives is refused as such; what is a relative one leads back to the front.
    expect([...refusals, 'response_invalid', '[]']).toContain(ended);
    expect(forbidden.connections()).toBe(0);
  });

  test.each(FORMS)('%s as the token URL', async (form) => {
    const auth = {
      type: 'oauth2_client_credentials',
      token_url: inPlace(form),
      client_id: 'me',
      client_secret: 'canary-secret',
    } as const;
    const ask = async (): Promise<unknown> => {
      await using client = clientOf(front.origin, { network: allowed(), auth });
      return await client.send(get(front.origin), never);
    };
    expect(refusals).toContain((await failureOf(ask())).code);
    expect(forbidden.connections()).toBe(0);
  });

  test.each(FORMS)("%s as a connector's own proxy, and through one of the environment", async (form) => {
    const url = URL.parse(inPlace(form));
    if (url === null) return;
    const throughIt = async (): Promise<unknown> => {
      await using client = clientOf('http://93.184.215.14/', { network: allowed(), proxy: url.href });
      return await client.send(get('http://93.184.215.14/'), never);
    };
    expect(refusals).toContain((await failureOf(throughIt())).code);
    process.env['HTTP_PROXY'] = process.env['HTTPS_PROXY'] = front.origin;
    try {
      const before = front.connections();
      await using client = clientOf(url.href, { network: { allow: [], allowPrivateHttp: [] } });
      expect(refusals).toContain((await failureOf(client.send(get(url.href), never))).code);
      expect(front.connections()).toBe(before);
    } finally {
      delete process.env['HTTP_PROXY'];
      delete process.env['HTTPS_PROXY'];
    }
    expect(forbidden.connections()).toBe(0);
  });
});

describe('names', () => {
  const PRIVATE = [
    '127.0.0.1',
    '::1',
    '::ffff:127.0.0.1',
    '10.1.2.3',
    '169.254.169.254',
    'fe80::1',
    '0.0.0.0',
  ];

  test.each(PRIVATE)('one that means %s is not reached', async (address) => {
    const url = `http://harmless.example.com:${forbidden.port}/`;
    await using client = clientOf(
      url,
      { network: { allow: [], allowPrivateHttp: [] } },
      { resolve: always([address]) },
    );
    const error = await failureOf(client.send(get(url), never));
    expect(error.code).toBe('host_not_allowed');
    expect(error.message).toContain(address);
  });

  test('one with a public and a private address is not reached at all', async () => {
    const url = `http://mixed.example.com:${forbidden.port}/`;
    const resolve = always(['93.184.215.14', '127.0.0.1']);
    await using client = clientOf(url, { network: { allow: [], allowPrivateHttp: [] } }, { resolve });
    expect((await failureOf(client.send(get(url), never))).code).toBe('host_not_allowed');
  });

  test('one that resolves twice differently is judged each time it is connected to, and asked once for that', async () => {
    let asked = 0;
    const answers = ['127.0.0.1', '127.0.0.2'];
    await using api = await serve((_request, response) => {
      response.setHeader('connection', 'close');
      response.end('[]');
    });
    const other = await listenOn('127.0.0.2', api.port);
    const url = `http://rebinding.example.com:${api.port}/`;
    await using client = clientOf(
      url,
      { network: { allow: [], allowPrivateHttp: [`127.0.0.1:${api.port}`] } },
      {
        resolve: (_name, done) => {
          asked += 1;
          done(null, [{ address: answers[asked - 1] ?? '127.0.0.2', family: 4 }]);
        },
      },
    );
    expect(await textOf(client, get(url))).toBe('[]');
    expect(asked).toBe(1);
    const error = await failureOf(client.send(get(url), never));
    expect(error.code).toBe('host_not_allowed');
    expect(error.message).toContain('127.0.0.2');
    expect(other.connections()).toBe(0);
    other.close();
  });
});

describe('what allowPrivateHttp opens, and nothing besides', () => {
  const reach = async (
    url: string,
    allowPrivateHttp: readonly string[],
    address?: string,
  ): Promise<string> => {
    await using client = clientOf(
      url,
      { network: { allow: [], allowPrivateHttp } },
      address === undefined ? {} : { resolve: always([address]) },
    );
    return await textOf(client, get(url)).catch((error) => error.code);
  };
  const own = (): string => `http://127.0.0.1:${front.port}/`;
  const named = (): string => `http://api.intern.example:${front.port}/`;

  test('an address, an address with its port, a network, a name, what is below a domain', async () => {
    expect(await reach(own(), ['127.0.0.1'])).toBe('[]');
    expect(await reach(own(), [`127.0.0.1:${front.port}`])).toBe('[]');
    expect(await reach(own(), ['127.0.0.0/8'])).toBe('[]');
    expect(await reach(named(), ['api.intern.example'], '127.0.0.1')).toBe('[]');
    expect(await reach(named(), [`api.intern.example:${front.port}`], '127.0.0.1')).toBe('[]');
    expect(await reach(named(), ['*.intern.example'], '127.0.0.1')).toBe('[]');
    expect(await reach(named(), ['127.0.0.0/8'], '127.0.0.1')).toBe('[]');
  });

  test('not another port, network or name, and metadata only by its address', async () => {
    expect(await reach(own(), ['127.0.0.1:1'])).toBe('host_not_allowed');
    expect(await reach(own(), ['10.0.0.0/8', 'localhost', '*.intern.example'])).toBe('host_not_allowed');
    expect(await reach(named(), ['*.other.example', 'intern.example'], '127.0.0.1')).toBe('host_not_allowed');
    expect(await reach(named(), ['api.intern.example'], '169.254.169.254')).toBe('host_not_allowed');
    expect(await reach(named(), ['api.intern.example'], '0.0.0.0')).toBe('host_not_allowed');
  });

  test('and network.allow still says which hosts there are at all', async () => {
    const network = { allow: ['api.example.com'], allowPrivateHttp: ['127.0.0.1'] };
    await using client = clientOf(own(), { network });
    const error = await failureOf(client.send(get(own()), never));
    expect(error).toMatchObject({
      code: 'host_not_allowed',
      hint: expect.stringContaining('network.allow '),
    });
  });

  test('the hint is the line that opens it', async () => {
    await using client = clientOf(own(), { network: { allow: [], allowPrivateHttp: [] } });
    const error = await failureOf(client.send(get(own()), never));
    const entry = /add "([^"]+)"/.exec(error.hint)?.[1] ?? '';
    expect(await reach(own(), [entry])).toBe('[]');
  });
});

function always(addresses: readonly string[]) {
  return (_name: string, done: (error: null, found: { address: string; family: number }[]) => void): void =>
    done(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    );
}

async function listenEverywhere(): Promise<typeof forbidden> {
  return await listenOn('::', 0);
}

async function listenOn(host: string, port: number): Promise<typeof forbidden> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>((settle) => server.listen(port, host, settle));
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    connections: () => connections,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
