import { answer, serve, type TestApi } from '../rest-apis.ts';
import type { Call, FixtureTool } from './fixture.ts';

/** How often a stream's first load asks: for the first page to know the columns by, and for all pages. */
const requests = 2;

/** An API whose one row takes as long to load as its path says: `/wait/2` takes two seconds, a request half of it. */
export function serveSlowly(): Promise<TestApi> {
  return serve((request, response) => {
    const seconds = Number(request.url?.split('/').at(-1)?.split('?')[0]);
    const timer = setTimeout(() => answer(response, 200, [{ id: 1 }]), (seconds * 1_000) / requests);
    response.on('close', () => clearTimeout(timer));
  });
}

/** Connectors so far; each call has one of its own, since there is one run a connector at a time. */
let made = 0;

/** `slow_compute` is sync_connector on a slow source: the runs, their tasks and their cancellation are Millrace's own. */
export function slowCompute(api: TestApi): FixtureTool {
  return {
    name: 'slow_compute',
    inputSchema: {
      type: 'object',
      properties: { seconds: { type: 'number' }, label: { type: 'string' } },
      required: ['seconds'],
    },
    async call(call) {
      const connector = await register(call, api);
      return await call.own('sync_connector', { connector, wait_seconds: 25 });
    },
  };
}

async function register({ args, options, context }: Call, api: TestApi): Promise<string> {
  made += 1;
  const name = `slow_${made}`;
  const streams = [{ name: 'rows', path: `/wait/${Number(args['seconds'])}` }];
  const config = { base_url: api.url };
  const connector = { name, type: 'rest_api', config, streams, test: false };
  await options.services.connectors.register(connector, { actor: 'conformance' }, context.mcpReq.signal);
  return name;
}
