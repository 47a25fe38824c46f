declare module '@bcoe/v8-coverage' {
  import type { Profiler } from 'node:inspector';

  /** One coverage of a script from several of it; undefined from none. */
  export function mergeScriptCovs(
    scripts: readonly Profiler.ScriptCoverage[],
  ): Profiler.ScriptCoverage | undefined;
}
