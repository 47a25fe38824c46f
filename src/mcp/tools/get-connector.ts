import { z } from 'zod';
import type { Run, StreamState } from '../../core/model.ts';
import { breakerView, brief, connectorArgument, connectorView, nextActions, runSummary } from '../shapes.ts';
import { defineTool } from '../tool.ts';

export const getConnector = defineTool({
  name: 'get_connector',
  title: 'Get connector',
  description:
    'Shows one connector: config with secrets masked, streams, how far each was read (state), schedule, health and recent runs. Does not contact the source; that is test_connector.',
  input: z.strictObject({ connector: connectorArgument }),
  output: z.object({
    connector: connectorView,
    state: z.array(
      z.object({
        stream: z.string(),
        table: z.string(),
        cursor: z.string().optional(),
        rows: z.number(),
        last_synced_at: z.string().optional(),
      }),
    ),
    schedule: z
      .object({ next_runs: z.array(z.string()), notes: z.array(z.string()) })
      .meta(brief)
      .optional(),
    health: z.string(),
    health_reasons: z.array(z.string()).optional(),
    next_actions: nextActions.optional(),
    breaker: breakerView.optional(),
    recent_runs: z.array(runSummary),
  }),
  effects: { mutates: false },
  rest: 'list_runs shows runs; describe_data shows the tables of the streams.',
  async run(services, { connector }) {
    const detail = await services.connectors.get(connector);
    return {
      ...detail,
      state: detail.state.map(stateView),
      recent_runs: detail.recent_runs.map(withoutStreams),
    };
  },
});

/** Absent instead of null: a `null` in a union is what schema dialects of model providers disagree on. */
function stateView({
  cursor,
  ...state
}: StreamState): Omit<StreamState, 'cursor'> & { readonly cursor?: string } {
  return cursor === null ? state : { ...state, cursor };
}

/** A connector may have a thousand streams; their results are what get_run is for. */
function withoutStreams({
  streams: _streams,
  next_actions: _actions,
  ...run
}: Run): Omit<Run, 'streams' | 'next_actions'> {
  return run;
}
