import type { LogicalType, Value } from '../../core/types.ts';
import type { ZeroDatePolicy } from './config.ts';
import { isOdd } from './decode.ts';

/** A column that can hold a date, and its place in the row. */
export interface DateColumn {
  readonly name: string;
  readonly index: number;
  readonly type: LogicalType;
}

/** The columns of these that can hold a date. */
export function dateColumns(
  columns: readonly { readonly name: string; readonly type: LogicalType }[],
): readonly DateColumn[] {
  return columns.flatMap(({ name, type }, index) =>
    type === 'date' || type === 'timestamp' || type === 'timestamptz' ? [{ name, index, type }] : [],
  );
}

/**
 * The dates of one reading that no calendar has (`0000-00-00`, `2024-00-15`, `2024-02-31`): changed as the policy
 * wants, and counted by column whatever it wants.
 */
export class OddDates {
  readonly #policy: ZeroDatePolicy;
  readonly #counts = new Map<string, number>();

  constructor(policy: ZeroDatePolicy) {
    this.#policy = policy;
  }

  /** Looks at the dates of the row that begins at `from` and changes them in place; why it must not land, or null. */
  judge(columns: readonly DateColumn[], values: Value[], from: number): string | null {
    let reason: string | null = null;
    for (const { name, index, type } of columns) {
      const value = values[from + index];
      if (typeof value !== 'string' || !isOdd(type, value)) continue;
      this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
      if (this.#policy === 'null') values[from + index] = null;
      else if (this.#policy === 'reject')
        reason ??= `no calendar has the date ${value} in "${name}" (zero_dates is "reject")`;
    }
    return reason;
  }

  /** What was found, for the run: a sentence for each column. */
  noticed(): readonly string[] {
    return [...this.#counts].map(
      ([name, count]) =>
        `${count} ${count === 1 ? 'value' : 'values'} of "${name}" ${count === 1 ? 'is a date' : 'are dates'} that no calendar has, such as 0000-00-00: ${outcomes[this.#policy]} (zero_dates is "${this.#policy}").`,
    );
  }
}

const outcomes: Readonly<Record<ZeroDatePolicy, string>> = {
  text: 'landed as the server writes them',
  null: 'landed as NULL',
  reject: 'their rows were kept aside as rejects',
};
