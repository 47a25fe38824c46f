/** PostgreSQL's binary dates and times as text. Pure, and the calendar is PostgreSQL's own: proleptic Gregorian. */

/** Days from 1970-01-01 to PostgreSQL's own epoch, 2000-01-01. */
const epochDays = 10_957;
const firstDay = -730_119; // 0001-01-01
const lastDay = 2_921_939; // 9999-12-31
const dayMicros = 86_400_000_000;

/** Formatting a day is the dear part of a timestamp, and the rows of a table share few days. */
const cachedDaysMax = 20_000;
const dayCache = new Map<number, string>();

/** Days since 2000-01-01 as `YYYY-MM-DD`; beyond the years 1 to 9999 as PostgreSQL itself prints it. */
export function dayText(day: number): string {
  const known = dayCache.get(day);
  if (known !== undefined) return known;
  const text =
    day === 2_147_483_647 ? 'infinity' : day === -2_147_483_648 ? '-infinity' : bcText(calendar(day), '');
  if (dayCache.size >= cachedDaysMax) dayCache.clear();
  dayCache.set(day, text);
  return text;
}

/**
 * Microseconds since 2000-01-01, as the two words of an int64, as `YYYY-MM-DDTHH:MM:SS.ffffff`, with `Z` for
 * timestamptz; infinities and years outside 1 to 9999 as PostgreSQL itself prints them in UTC.
 */
export function timestampText(high: number, low: number, zoned: boolean): string {
  // Within 285 years of 2000 a double holds the microseconds exactly.
  if (high < -2_097_151 || high > 2_097_151) return farTimestampText(high, low, zoned);
  const micros = high * 4_294_967_296 + low;
  const day = Math.floor(micros / dayMicros);
  if (day !== scratchDay) {
    scratch.write(`${dayText(day)}T`, 0, 'latin1');
    scratchDay = day;
  }
  writeClock(micros - day * dayMicros);
  return scratch.latin1Slice(0, zoned ? 27 : 26);
}

/**
 * One flat string made from bytes, and the day written only when it changes: a string put together from eight pieces is
 * a tree, which costs eight times the garbage and is flattened when it crosses to the writing thread.
 */
const scratch = Buffer.allocUnsafeSlow(27);
scratch.write('YYYY-MM-DDTHH:MM:SS.ffffffZ', 0, 'latin1');
let scratchDay = Number.NaN;

function writeClock(micros: number): void {
  const seconds = Math.floor(micros / 1_000_000);
  const hour = Math.floor(seconds / 3600);
  const minute = Math.floor((seconds - hour * 3600) / 60);
  writeTwo(11, hour);
  writeTwo(14, minute);
  writeTwo(17, seconds - hour * 3600 - minute * 60);
  let rest = micros - seconds * 1_000_000;
  for (let at = 25; at >= 20; at--) {
    const next = Math.floor(rest / 10);
    scratch[at] = 48 + rest - next * 10;
    rest = next;
  }
}

function writeTwo(at: number, value: number): void {
  const tens = Math.floor(value / 10);
  scratch[at] = 48 + tens;
  scratch[at + 1] = 48 + value - tens * 10;
}

function farTimestampText(high: number, low: number, zoned: boolean): string {
  if (high === 2_147_483_647 && low === 4_294_967_295) return 'infinity';
  if (high === -2_147_483_648 && low === 0) return '-infinity';
  const micros = (BigInt(high) << 32n) + BigInt(low);
  const inDay = ((micros % BigInt(dayMicros)) + BigInt(dayMicros)) % BigInt(dayMicros);
  const day = Number((micros - inDay) / BigInt(dayMicros));
  const clock = clockText(Number(inDay));
  if (day >= firstDay && day <= lastDay) return `${dayText(day)}T${clock}${zoned ? 'Z' : ''}`;
  const trimmed = clock.endsWith('.000000') ? clock.slice(0, 8) : clock.replace(/0+$/, '');
  return bcText(calendar(day), ` ${trimmed}${zoned ? '+00' : ''}`);
}

const two = Array.from({ length: 100 }, (_, n) => String(n).padStart(2, '0'));
const three = Array.from({ length: 1000 }, (_, n) => String(n).padStart(3, '0'));

function clockText(micros: number): string {
  const seconds = Math.floor(micros / 1_000_000);
  const rest = micros - seconds * 1_000_000;
  const hour = Math.floor(seconds / 3600);
  const minute = Math.floor((seconds - hour * 3600) / 60);
  const millis = Math.floor(rest / 1000);
  return `${two[hour]}:${two[minute]}:${two[seconds - hour * 3600 - minute * 60]}.${three[millis]}${three[rest - millis * 1000]}`;
}

interface CalendarDay {
  readonly year: number;
  readonly month: number;
  readonly day: number;
}

/** Howard Hinnant's civil_from_days; year 0 is 1 BC. */
function calendar(sinceEpoch: number): CalendarDay {
  const shifted = sinceEpoch + epochDays + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  return {
    year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1,
  };
}

function bcText({ year, month, day }: CalendarDay, clock: string): string {
  const shown = String(year > 0 ? year : 1 - year).padStart(4, '0');
  return `${shown}-${two[month]}-${two[day]}${clock}${year > 0 ? '' : ' BC'}`;
}
