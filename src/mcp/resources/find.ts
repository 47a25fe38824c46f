import { ProtocolError, ProtocolErrorCode, ResourceNotFoundError } from '@modelcontextprotocol/server';
import { asMillraceError, type ErrorCode } from '../../core/errors.ts';
import { nearest, suggestion } from '../../core/nearest.ts';
import type { Services } from '../../services/services.ts';
import { cleanText } from '../clean.ts';
import { resourceKinds } from './kinds.ts';
import { type Contents, type ResourceKind, valuesIn } from './resource.ts';

export interface Found {
  readonly kind: ResourceKind;
  readonly contents: Contents;
}

const SCHEME = 'millrace://';
/** Longer ones are nobody's mistake of typing. */
const uriChars = 500;
/** How many of the newest runs a mistyped id is compared with. */
const runsCompared = 100;
/** What a service answers when the thing that an address names is not there. */
const missing: ReadonlySet<ErrorCode> = new Set(['connector_not_found', 'run_not_found', 'invalid_config']);

/** What a URI names, read. Throws the protocol's error for a resource that is not there, with the near ones. */
export async function findResource(services: Services, uri: string): Promise<Found> {
  for (const kind of resourceKinds) {
    const values = uri.length > uriChars ? null : valuesIn(kind, uri);
    if (values === null) continue;
    try {
      return { kind, contents: await kind.read(services, values) };
    } catch (error) {
      throw await asProtocolError(services, { uri, values, error });
    }
  }
  throw notFound(uri, `There is no resource "${uri.slice(0, uriChars)}". ${nearKinds(uri)}`);
}

/** Compared without what all of them begin with, which would make each near to each. */
function nearKinds(uri: string): string {
  const path = (of: string): string => of.replace(SCHEME, '');
  const known = resourceKinds.map((kind) => path(kind.uri));
  return suggestion(path(uri.slice(0, uriChars)), known).replaceAll(/"(?=\w)/g, `"${SCHEME}`);
}

async function asProtocolError(
  services: Services,
  at: {
    readonly uri: string;
    readonly values: Readonly<Record<string, string>>;
    readonly error: unknown;
  },
): Promise<ProtocolError> {
  const { code, message, hint } = asMillraceError(at.error);
  if (!missing.has(code))
    return new ProtocolError(ProtocolErrorCode.InternalError, cleanText(`${code}: ${message} Hint: ${hint}`));
  const near = code === 'run_not_found' ? await nearRuns(services, at.values['run_id'] ?? '') : '';
  return notFound(at.uri, `${message} ${near}${hint}`);
}

async function nearRuns(services: Services, wanted: string): Promise<string> {
  const { items } = await services.runs.list({ limit: runsCompared });
  const ids = nearest(
    wanted,
    items.map((run) => run.run_id),
  );
  return ids.length === 0 ? '' : `Did you mean ${ids.map((id) => `"${id}"`).join(' or ')}? `;
}

function notFound(uri: string, message: string): ResourceNotFoundError {
  return new ResourceNotFoundError(cleanText(uri.slice(0, uriChars)), cleanText(message.slice(0, 1_000)));
}
