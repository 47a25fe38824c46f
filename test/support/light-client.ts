import { Agent, request } from 'undici';
import type { Generation } from './mcp-client.ts';

/**
 * A client of MCP over HTTP that does what the protocol asks of one and nothing else. The SDKs' own check every answer
 * against schemas, which costs three to five times what this one does: dozens of them beside the server would take the
 * cores that it is to answer with, where real ones sit on machines of their own.
 */
export interface LightClient extends AsyncDisposable {
  /** The text of a tool's answer. Rejects on anything but an answer. */
  call(name: string, args: object): Promise<{ readonly text: string; readonly isError: boolean }>;
}

const VERSION = { modern: '2026-07-28', legacy: '2025-11-25' } as const;
const clientInfo = { name: 'light', version: '1.0.0' };

interface Message {
  readonly id?: number;
  readonly error?: { readonly message: string };
  readonly result?: {
    readonly content?: readonly { readonly text?: string }[];
    readonly isError?: boolean;
  };
}

/** Over one connection, as most clients are; of the 2025 protocol in a session. */
export async function lightClient(generation: Generation, url: string): Promise<LightClient> {
  const dispatcher = new Agent({ connections: 1 });
  const version = VERSION[generation];
  let session: string | undefined;
  let last = 0;

  const send = async (method: string, params: object, name?: string): Promise<Message> => {
    const isNotification = method.startsWith('notifications/');
    const id = ++last;
    const response = await request(url, {
      dispatcher,
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        'mcp-protocol-version': version,
        ...(session === undefined ? {} : { 'mcp-session-id': session }),
        ...(generation === 'modern' ? { 'mcp-method': method } : {}),
        ...(generation === 'modern' && name !== undefined ? { 'mcp-name': name } : {}),
      },
      body: JSON.stringify({ jsonrpc: '2.0', method, params, ...(isNotification ? {} : { id }) }),
    });
    const text = await response.body.text();
    if (response.statusCode >= 300) throw new Error(`${response.statusCode}: ${text.slice(0, 200)}`);
    session ??= response.headers['mcp-session-id'] as string | undefined;
    if (isNotification) return {};
    const answer = messagesIn(text).find((message) => message.id === id);
    if (answer === undefined) throw new Error(`no answer in ${text.slice(0, 200)}`);
    if (answer.error !== undefined) throw new Error(answer.error.message);
    return answer;
  };

  if (generation === 'legacy') {
    await send('initialize', { protocolVersion: version, capabilities: {}, clientInfo });
    await send('notifications/initialized', {});
  }
  const _meta = {
    'io.modelcontextprotocol/protocolVersion': version,
    'io.modelcontextprotocol/clientInfo': clientInfo,
    'io.modelcontextprotocol/clientCapabilities': {},
  };
  return {
    async call(name, args) {
      const params = { name, arguments: args, ...(generation === 'modern' ? { _meta } : {}) };
      const { result } = await send('tools/call', params, name);
      return { text: result?.content?.[0]?.text ?? '', isError: result?.isError ?? result === undefined };
    },
    [Symbol.asyncDispose]: () => dispatcher.close(),
  };
}

/** An answer comes as JSON or as a stream of events, as the server likes. */
function messagesIn(text: string): readonly Message[] {
  if (text.startsWith('{')) return [JSON.parse(text) as Message];
  return text
    .split('\n')
    .filter((line) => /^data: *\{/.test(line))
    .map((line) => JSON.parse(line.slice(line.indexOf('{'))) as Message);
}
