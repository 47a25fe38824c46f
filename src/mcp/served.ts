import { TOOLSETS, type Toolset } from '../core/toolsets.ts';
import type { Output, Tool } from './tool.ts';
import { cancelRun } from './tools/cancel-run.ts';
import { deleteConnector } from './tools/delete-connector.ts';
import { describeData } from './tools/describe-data.ts';
import { discoverStreams } from './tools/discover-streams.ts';
import { getRun } from './tools/get-run.ts';
import { tools } from './tools/index.ts';
import { listConnectorTypes } from './tools/list-connector-types.ts';
import { listRejects } from './tools/list-rejects.ts';
import { listRuns } from './tools/list-runs.ts';
import { previewStream } from './tools/preview-stream.ts';
import { queryData } from './tools/query-data.ts';
import { registerConnector } from './tools/register-connector.ts';
import { replayRejects } from './tools/replay-rejects.ts';
import { rotateSecret } from './tools/rotate-secret.ts';
import { syncConnector } from './tools/sync-connector.ts';
import { testConnector } from './tools/test-connector.ts';
import { updateConnector } from './tools/update-connector.ts';

/** Which tools a server was told to serve when it was started. */
export interface Serving {
  /** Only those that change nothing. */
  readonly readOnly: boolean;
  /** Only those of these sets; absent: all. */
  readonly toolsets?: readonly Toolset[];
}

/**
 * A tool stands in one set. Those in none (`list_connectors`, `get_connector`, `get_health`) say what there is and how
 * it is doing: every job begins there, so they are always served.
 */
export const toolsOf: Readonly<Record<Toolset, readonly Tool[]>> = {
  setup: [
    listConnectorTypes,
    registerConnector,
    updateConnector,
    deleteConnector,
    testConnector,
    rotateSecret,
    discoverStreams,
    previewStream,
  ],
  sync: [syncConnector, getRun, listRuns, cancelRun, listRejects, replayRejects],
  data: [describeData, queryData],
};

/** The tools of this server, in the order of `tools/list`. */
export function servedTools({ readOnly, toolsets = TOOLSETS }: Serving): readonly Tool[] {
  const leftOut = new Set(TOOLSETS.filter((set) => !toolsets.includes(set)).flatMap((set) => toolsOf[set]));
  return tools.filter((tool) => !leftOut.has(tool) && !(readOnly && tool.effects.mutates));
}

/** The set that the tool stands in and that this server does not serve; undefined for a tool that is not left out so. */
export function setLeftOut(tool: Tool, { toolsets = TOOLSETS }: Serving): Toolset | undefined {
  return TOOLSETS.find((set) => toolsOf[set].includes(tool) && !toolsets.includes(set));
}

/** What is answered, without calls of tools that are not `served`: the services offer what helps, whoever asks. */
export function offeringOnly(served: ReadonlySet<string>, value: Output): Output {
  const hidden = new Set(tools.map(({ name }) => name).filter((name) => !served.has(name)));
  if (hidden.size === 0) return value;
  const isHidden = (one: unknown): boolean =>
    hidden.has((one as { readonly tool?: string } | null)?.tool ?? '');
  const kept = (inner: unknown, key: string): unknown => {
    if (Array.isArray(inner))
      return inner.filter((one) => key !== 'next_actions' || !isHidden(one)).map((one) => kept(one, ''));
    if (typeof inner !== 'object' || inner === null) return inner;
    return Object.fromEntries(Object.entries(inner).map(([name, one]) => [name, kept(one, name)]));
  };
  return kept(value, '') as Output;
}
