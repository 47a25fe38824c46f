import { type CronTimes, nominalTimes, parseCron } from './cron.ts';

/** Clocks of a zone go forward or back. */
export interface ClockChange {
  readonly at: Date;
  /** Minutes ahead of UTC. */
  readonly before: number;
  readonly after: number;
}

/** The changes from `from` on and before `until`, in order. */
export function clockChanges(timezone: string, from: Date, until: Date): readonly ClockChange[] {
  const offsetAt = offsets(timezone);
  const changes: ClockChange[] = [];
  for (let start = from.getTime(); start < until.getTime(); start += STEP_MS) {
    let [low, high] = [start, Math.min(start + STEP_MS, until.getTime())];
    const before = offsetAt(low);
    const after = offsetAt(high);
    if (before === after) continue;
    while (high - low > 1_000) {
      const middle = Math.floor((low + high) / 2_000) * 1_000;
      if (middle <= low) break;
      if (offsetAt(middle) === before) low = middle;
      else high = middle;
    }
    changes.push({ at: new Date(Math.floor(high / 1_000) * 1_000), before, after });
  }
  return changes;
}

/** No zone changes its clocks twice within a week; Morocco does within a month. */
const STEP_MS = 7 * 86_400_000;
const YEAR_MS = 366 * 86_400_000;

/** What changing clocks do to a schedule in the year after `from`, a sentence a change; none where they never change. */
export function clockNotes(schedule: string, timezone: string, from: Date): readonly string[] {
  const times = parseCron(schedule, timezone);
  return clockChanges(timezone, from, new Date(from.getTime() + YEAR_MS)).map((change) => {
    const day = localText(change.at, change.before).slice(0, 10);
    const [was, is] = [clockText(change.at, change.before), clockText(change.at, change.after)];
    const later = change.after - change.before;
    const inUtc = times.isInterval
      ? ''
      : ` From then on its times come ${Math.abs(later)} minutes ${later > 0 ? 'earlier' : 'later'} in UTC.`;
    return `On ${day} the clocks in ${timezone} go ${later > 0 ? 'forward' : 'back'} from ${was} to ${is}: ${effect(schedule, times, change)}.${inUtc}`;
  });
}

/** Which times of the schedule are jumped over or repeated, and what becomes of them. */
function effect(schedule: string, times: CronTimes, change: ClockChange): string {
  const jumpMs = (change.after - change.before) * 60_000;
  const [from, until] =
    jumpMs > 0
      ? [change.at.getTime(), change.at.getTime() + jumpMs]
      : [change.at.getTime() + jumpMs, change.at.getTime()];
  const hit = nominalTimes(schedule, {
    offsetMinutes: change.before,
    from: new Date(from),
    until: new Date(until),
  });
  if (hit.length === 0) return 'no time of the schedule is concerned';
  const which = listed(hit.map((at) => clockText(at, change.before)));
  if (times.isInterval)
    return jumpMs > 0
      ? `${which} ${are(hit)} not there that day and nothing runs for ${hit.length === 1 ? 'it' : 'them'}; the interval goes on in real time`
      : `${which} ${hit.length === 1 ? 'comes' : 'come'} twice, and so do the runs; the interval goes on in real time`;
  return jumpMs > 0
    ? `${which} ${are(hit)} not there that day, and one run comes at ${clockText(change.at, change.after)} instead`
    : `${which} ${hit.length === 1 ? 'comes' : 'come'} twice, and the run only the first time`;
}

function are(list: readonly unknown[]): string {
  return list.length === 1 ? 'is' : 'are';
}

function listed(texts: readonly string[]): string {
  const shown = texts.slice(0, 3).join(', ');
  return texts.length > 3 ? `${shown}, …` : shown;
}

/** Minutes ahead of UTC at a time in milliseconds. */
function offsets(timezone: string): (at: number) => number {
  const format = new Intl.DateTimeFormat('en-US', { timeZone: timezone, timeZoneName: 'longOffset' });
  return (at) => {
    const name = format.formatToParts(new Date(at)).find((part) => part.type === 'timeZoneName')?.value;
    const [, sign, hours, minutes] = /([+-])(\d\d):(\d\d)/.exec(name ?? '') ?? [];
    if (sign === undefined) return 0; // "GMT"
    return (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes));
  };
}

function localText(at: Date, offsetMinutes: number): string {
  return new Date(at.getTime() + offsetMinutes * 60_000).toISOString();
}

function clockText(at: Date, offsetMinutes: number): string {
  const text = localText(at, offsetMinutes).slice(11, 19);
  return text.endsWith(':00') ? text.slice(0, 5) : text;
}
