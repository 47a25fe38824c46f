import type { ResolvedStream } from '../../core/model.ts';
import { listed } from '../sql/check-report.ts';
import { described } from '../sql/choices.ts';
import type { Asking } from './catalogue.ts';
import type { Settings, ZeroDatePolicy } from './config.ts';
import { hasSnapshots } from './reading-notes.ts';
import type { Shape } from './shape.ts';

/** A stream that can be read, and what it is at the source. */
export interface Resolved {
  readonly stream: ResolvedStream;
  readonly shape: Shape;
}

/** What to know about the tables of the streams before the first run. */
export async function streamWarnings(
  asking: Asking,
  resolved: readonly Resolved[],
  settings: Settings,
): Promise<readonly string[]> {
  const tables = resolved.filter(({ shape }) => shape.relation !== null);
  const named = (of: readonly Resolved[]): string => listed(of.map(({ shape }) => described(shape)));
  const writable = tables.filter(({ shape }) =>
    shape.columns.some(({ catalogue }) => catalogue?.mayWrite === true),
  );
  const unsteady = tables.filter(({ shape }) => !hasSnapshots(shape.relation?.engine ?? ''));
  const keyless = tables.filter(
    ({ shape, stream }) =>
      stream.primaryKey.length === 0 && stream.mode !== 'append' && shape.relation?.kind !== 'view',
  );
  return [
    ...(writable.length > 0
      ? [`The login may also change ${named(writable)}; reading needs no more than SELECT.`]
      : []),
    ...(unsteady.length > 0
      ? [
          `No snapshots can be had of ${named(unsteady)}, and no transactions seen there (the engine is ${listed([...new Set(unsteady.map(({ shape }) => shape.relation?.engine ?? ''))])}): rows that change during a read may land in part, and the late-commit guard does not cover them. ALTER TABLE … ENGINE=InnoDB mends that.`,
        ]
      : []),
    ...(keyless.length > 0
      ? [
          `There is no key in ${named(keyless)}: each run reads everything, and begins anew when it breaks off.`,
        ]
      : []),
    ...(await dateWarnings(asking, resolved, settings)),
  ];
}

const lands: Readonly<Record<ZeroDatePolicy, string>> = {
  text: 'they land as the text the server writes',
  null: 'they land as NULL',
  reject: 'rows with one are kept aside as rejects',
};

/** Whether dates that no calendar has can be stored, where a stream reads dates. */
async function dateWarnings(
  { session, signal }: Asking,
  resolved: readonly Resolved[],
  { zeroDates }: Settings,
): Promise<readonly string[]> {
  const dated = resolved.some(({ stream }) =>
    stream.columns.some(({ type }) => type === 'date' || type === 'timestamp' || type === 'timestamptz'),
  );
  if (!dated) return [];
  const [row] = await session.query('SELECT @@GLOBAL.sql_mode', [], { signal });
  const modes = new Set((row?.[0] ?? '').split(','));
  const strict = modes.has('STRICT_TRANS_TABLES') || modes.has('STRICT_ALL_TABLES');
  if (strict && modes.has('NO_ZERO_DATE') && modes.has('NO_ZERO_IN_DATE')) return [];
  return [
    `The server's sql_mode lets dates be stored that no calendar has, such as 0000-00-00: "zero_dates" is "${zeroDates}", so ${lands[zeroDates]}, and each run counts them.`,
  ];
}
