import { registerHooks } from 'node:module';

/**
 * Preloaded into a Millrace process (`NODE_OPTIONS=--import …`), its worker threads included, by the control of
 * the kill suite: the late-commit guards settle on the greatest value they see, as tools do that lose rows. The
 * program itself has no such switch.
 */
const GUARD = /\/connectors\/(postgresql|mysql)\/guard\.ts$/;
const BEGINNING = 'export const lateCommitGuard: Guard = async (request) => {';
const NO_GUARD = `
  {
    const { mark: highest } = await greatest(request);
    const mark = await later(request, [highest, request.settled.mark]);
    return { bound: { mark, held: [] }, guard: 'off', warnings: [], lookback: request.lookback };
  }
`;

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!GUARD.test(url)) return loaded;
    const source = String(loaded.source);
    if (!source.includes(BEGINNING))
      throw new Error('the guard has changed: the control does not know how to switch it off');
    return { ...loaded, source: source.replace(BEGINNING, BEGINNING + NO_GUARD) };
  },
});
