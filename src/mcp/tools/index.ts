import type { Tool } from '../tool.ts';
import { cancelRun } from './cancel-run.ts';
import { deleteConnector } from './delete-connector.ts';
import { describeData } from './describe-data.ts';
import { discoverStreams } from './discover-streams.ts';
import { getConnector } from './get-connector.ts';
import { getHealth } from './get-health.ts';
import { getRun } from './get-run.ts';
import { listConnectorTypes } from './list-connector-types.ts';
import { listConnectors } from './list-connectors.ts';
import { listRejects } from './list-rejects.ts';
import { listRuns } from './list-runs.ts';
import { previewStream } from './preview-stream.ts';
import { queryData } from './query-data.ts';
import { registerConnector } from './register-connector.ts';
import { replayRejects } from './replay-rejects.ts';
import { rotateSecret } from './rotate-secret.ts';
import { syncConnector } from './sync-connector.ts';
import { testConnector } from './test-connector.ts';
import { updateConnector } from './update-connector.ts';

/** Every tool, in the order in which a conversation needs them: the order of `tools/list`. */
export const tools: readonly Tool[] = [
  listConnectorTypes,
  registerConnector,
  listConnectors,
  getConnector,
  updateConnector,
  deleteConnector,
  testConnector,
  rotateSecret,
  discoverStreams,
  previewStream,
  syncConnector,
  getRun,
  listRuns,
  cancelRun,
  listRejects,
  replayRejects,
  describeData,
  queryData,
  getHealth,
];
