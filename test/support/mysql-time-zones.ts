import type { Connection } from 'mysql2/promise';

/** Zones that tests name: an hour of summer time, on both sides of the Atlantic; half an hour of it; none at all. */
const ZONES = ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata', 'UTC'] as const;

const SPAN = { from: 0, to: Date.UTC(2037, 11, 31) / 1000 };
const WEEK = 7 * 24 * 60 * 60;

/** Fills the server's tables of time zones, which are empty until somebody does: without them it knows no names. */
export async function loadTimeZones(connection: Connection): Promise<void> {
  for (const zone of ZONES) {
    const [known] = await connection.query<never[]>('SELECT 1 FROM mysql.time_zone_name WHERE Name = ?', [
      zone,
    ]);
    if (known.length > 0) continue;
    await connection.query("INSERT INTO mysql.time_zone (Use_leap_seconds) VALUES ('N')");
    await connection.query('SET @zone = LAST_INSERT_ID()');
    await connection.query('INSERT INTO mysql.time_zone_name VALUES (?, @zone)', [zone]);
    const offsets = offsetsOf(zone);
    const kinds = [...new Set(offsets.map(({ seconds }) => seconds))].sort((a, b) => a - b);
    const summer = kinds.length > 1 ? kinds.at(-1) : undefined;
    for (const [id, seconds] of kinds.entries())
      await connection.query('INSERT INTO mysql.time_zone_transition_type VALUES (@zone, ?, ?, ?, ?)', [
        id,
        seconds,
        seconds === summer ? 1 : 0,
        seconds === summer ? 'DST' : 'STD',
      ]);
    for (const { at, seconds } of offsets)
      await connection.query('INSERT INTO mysql.time_zone_transition VALUES (@zone, ?, ?)', [
        at,
        kinds.indexOf(seconds),
      ]);
  }
}

interface Offset {
  /** Seconds since 1970 from which it holds. */
  readonly at: number;
  readonly seconds: number;
}

/** As Node's own zone data has them, so that the tests need none of the machine's. */
function offsetsOf(zone: string): readonly Offset[] {
  const format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' });
  const secondsAt = (at: number): number => {
    const name = format.formatToParts(at * 1000).find(({ type }) => type === 'timeZoneName')?.value ?? '';
    const [, sign = '+', hours = '0', minutes = '0', rest = '0'] =
      /GMT(?:([+-])(\d+):(\d+)(?::(\d+))?)?/.exec(name) ?? [];
    return (sign === '-' ? -1 : 1) * (Number(hours) * 3600 + Number(minutes) * 60 + Number(rest));
  };
  const found: Offset[] = [{ at: SPAN.from, seconds: secondsAt(SPAN.from) }];
  for (let at = SPAN.from; at < SPAN.to; at += WEEK) {
    const before = secondsAt(at);
    if (secondsAt(at + WEEK) === before) continue;
    let low: number = at;
    let high = at + WEEK;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (secondsAt(middle) === before) low = middle;
      else high = middle;
    }
    found.push({ at: high, seconds: secondsAt(high) });
  }
  return found;
}
