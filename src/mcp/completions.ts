import { type McpServer, ProtocolError, ProtocolErrorCode } from '@modelcontextprotocol/server';
import { nearest, suggestion } from '../core/nearest.ts';
import type { Services } from '../services/services.ts';
import { type Completes, candidates } from './candidates.ts';
import { cleanText } from './clean.ts';
import { prompts } from './prompts/index.ts';
import { resourceKinds } from './resources/kinds.ts';

/** The protocol's own limit. */
const valuesMax = 100;
/** Completes the places of resource templates and the arguments of prompts. */
export function serveCompletions(server: McpServer, services: Services): void {
  server.server.registerCapabilities({ completions: {} });
  server.server.setRequestHandler('completion/complete', async ({ params }) => {
    const places = placesOf(params.ref);
    const { name } = params.argument;
    const kind = Object.hasOwn(places, name) ? places[name] : undefined;
    const filled = params.context?.arguments ?? {};
    const all = kind === undefined ? [] : await candidates[kind](services, filled);
    const fitting = matching(params.argument.value, all);
    const values = fitting.slice(0, valuesMax);
    return { completion: { values, total: fitting.length, hasMore: fitting.length > values.length } };
  });
}

type Reference =
  | { readonly type: 'ref/prompt'; readonly name: string }
  | { readonly type: 'ref/resource'; readonly uri: string };

/** What each argument of the prompt, or each place of the template, completes to. */
function placesOf(ref: Reference): Readonly<Record<string, Completes>> {
  if (ref.type === 'ref/resource') {
    const kind = resourceKinds.find(({ uri }) => uri === ref.uri);
    if (kind !== undefined) return kind.completes;
    const known = resourceKinds.map(({ uri }) => uri);
    throw unknown(`There is no resource template "${ref.uri}".`, suggestion(ref.uri, known));
  }
  const prompt = prompts.find(({ name }) => name === ref.name);
  const known = prompts.map(({ name }) => name);
  if (prompt === undefined) throw unknown(`There is no prompt "${ref.name}".`, suggestion(ref.name, known));
  return Object.fromEntries(
    prompt.arguments.flatMap(({ name, completes }) => (completes === undefined ? [] : [[name, completes]])),
  );
}

function unknown(what: string, suggested: string): ProtocolError {
  return new ProtocolError(ProtocolErrorCode.InvalidParams, cleanText(`${what.slice(0, 300)} ${suggested}`));
}

/** Those that begin with it, then those that hold it, then those that are near. */
function matching(typed: string, all: readonly string[]): readonly string[] {
  const wanted = typed.toLowerCase();
  const begin = all.filter((name) => name.toLowerCase().startsWith(wanted));
  const hold = all.filter((name) => name.toLowerCase().includes(wanted));
  return [...new Set([...begin, ...hold, ...nearest(typed, all)])];
}
