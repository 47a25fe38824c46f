import { type ErrorView, MillraceError } from '../core/errors.ts';
import type { RunStatus, StreamResult } from '../core/model.ts';
import type { Claim, Outcome } from '../store/store.ts';

/** What the results of its streams, or an error of the whole, make of a run. */
export function statusOf(
  streams: readonly StreamResult[],
  thrown: MillraceError | undefined,
): Outcome['status'] {
  if (thrown?.code === 'cancelled' || streams.some((stream) => stream.status === 'cancelled'))
    return 'cancelled';
  if (thrown !== undefined) return 'failed';
  const failed = streams.filter((stream) => stream.status !== 'succeeded').length;
  if (failed === 0) return 'succeeded';
  return failed < streams.length ? 'partial' : ('failed' satisfies RunStatus);
}

/** Whether something that was asked for has not been done, and not because somebody stopped it. */
export function isIncomplete(status: RunStatus): boolean {
  return status === 'failed' || status === 'partial';
}

/**
 * The end of a run, its streams included: a thread that was ended or died says nothing of those it was moving or had not
 * come to. `whole`: what the run failed with, where that was no error of one stream.
 */
export function ended(
  { status, streams, error }: Outcome,
  whole: ErrorView | undefined = undefined,
): Outcome {
  const end = (stream: StreamResult): StreamResult => {
    if (stream.status !== 'running' && stream.status !== 'pending') return stream;
    return status === 'failed' && whole !== undefined
      ? { ...stream, status: 'failed', error: whole }
      : { ...stream, status: 'cancelled' };
  };
  return { status, streams: streams.map(end), ...(error === undefined ? {} : { error }) };
}

/** The end of a run that is claimed when none of its attempts is left. */
export function givenUp(claim: Claim, streams: readonly StreamResult[]): Outcome {
  const error = lastFailure(claim);
  return ended({ status: 'failed', streams, error }, error);
}

function lastFailure({ connector, attempt, recovered, failure }: Claim): ErrorView {
  // Its attempts were made fewer while it waited: no process was lost.
  if (!recovered && failure !== undefined) return failure;
  const what = recovered
    ? `The process that held this run ended during attempt ${attempt - 1}, and no attempt is left.`
    : 'No attempt of this run is left.';
  const before =
    failure === undefined ? '' : ` An attempt before had failed with ${failure.code}: ${failure.message}`;
  const call = failure === undefined ? 'Call' : `${failure.hint} Then call`;
  return new MillraceError('run_lost', `${what}${before}`, {
    hint: `${call} sync_connector again: it goes on from the last committed batch. If it happens again, the stderr of the server says why it ends.`,
    nextActions: [
      ...(failure?.next_actions ?? []),
      {
        tool: 'sync_connector',
        arguments: { connector },
        why: 'goes on from the last committed batch',
      },
    ],
  }).toView();
}
