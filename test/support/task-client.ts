import { Client, type JSONRPCMessage } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import {
  createTaskSessionFromClient,
  type JsonRpcResponse,
  type RawClientDispatch,
  type TaskEnabledSession,
} from '@modelcontextprotocol/ext-tasks/client';
import { millraceCommand } from './mcp-client.ts';

const TASKS = 'io.modelcontextprotocol/tasks';
const protocolVersion = '2026-07-28';
const clientInfo = { name: 'millrace-tasks', version: '1.0.0' };

/** A client of 2026-07-28 that follows tasks, with a server process of its own. */
export interface TaskClient extends AsyncDisposable {
  /** The session of the extension's own package: it checks each answer against the extension's schemas. */
  readonly session: TaskEnabledSession;
  /** One request as it is on the wire; `capabilities` are those of this request alone. */
  request(
    method: string,
    params: Readonly<Record<string, unknown>>,
    capabilities?: Readonly<Record<string, unknown>>,
  ): Promise<JsonRpcResponse>;
}

/** Starts Millrace on a data folder and connects such a client. */
export async function connectTaskClient(dataDir: string): Promise<TaskClient> {
  const [command, ...args] = millraceCommand(dataDir);
  const transport = new StdioClientTransport({ command, args, stderr: 'pipe' });
  const capabilities = { elicitation: { form: {} }, extensions: { [TASKS]: {} } };
  const client = new Client(clientInfo, {
    versionNegotiation: { mode: { pin: protocolVersion } },
    capabilities,
  });
  await client.connect(transport);
  const dispatch = dispatchOver(transport);
  const session = createTaskSessionFromClient(client, {
    endpointId: dataDir,
    rawDispatch: dispatch,
    v2RequestFraming: { protocolVersion, clientInfo, clientCapabilities: capabilities },
  });
  return {
    session,
    request: (method, params, own = capabilities) => {
      const _meta = {
        'io.modelcontextprotocol/protocolVersion': protocolVersion,
        'io.modelcontextprotocol/clientInfo': clientInfo,
        'io.modelcontextprotocol/clientCapabilities': own,
      };
      return dispatch({ method, params: { ...params, _meta } } as never);
    },
    async [Symbol.asyncDispose]() {
      await session.close();
      await client.close();
    },
  };
}

/** Requests beside those of the SDK's client, which knows no results of extensions, on the same connection. */
function dispatchOver(transport: StdioClientTransport): RawClientDispatch {
  const waiting = new Map<unknown, (response: JsonRpcResponse) => void>();
  const onmessage = transport.onmessage;
  transport.onmessage = (message) => {
    const answer = 'id' in message ? waiting.get(message.id) : undefined;
    if (answer === undefined) return onmessage?.(message);
    if ('error' in message) answer({ kind: 'error', error: message.error as never });
    else if ('result' in message) answer({ kind: 'result', result: message.result as never });
  };
  let last = 0;
  return async (request) => {
    last += 1;
    const id = `raw-${last}`;
    const answered = new Promise<JsonRpcResponse>((resolve) => {
      waiting.set(id, resolve);
    });
    await transport.send({ ...(request as object), jsonrpc: '2.0', id } as JSONRPCMessage);
    return await answered;
  };
}
