import type { GuideView } from '../services.ts';

/** Schedules and what they mean. */
export const scheduleExamples: readonly { readonly schedule: string; readonly means: string }[] = [
  { schedule: '*/15 * * * *', means: 'every 15 minutes' },
  { schedule: '@hourly', means: 'at the full hour' },
  { schedule: '30 6 * * *', means: 'at 6:30 each day' },
  { schedule: '0 8-18 * * MON-FRI', means: 'each full hour from 8 to 18, Monday to Friday' },
  { schedule: '0 3 L * *', means: 'at 3:00 on the last day of the month' },
  { schedule: '0 9 * * MON#1', means: 'at 9:00 on the first Monday of the month' },
  { schedule: '*/30 * * * * *', means: 'every 30 seconds: six fields begin with the second' },
];

const intro = `# Schedules

update_connector {"connector": "shop", "schedule": "*/15 * * * *", "timezone": "Europe/Berlin"}; an empty schedule removes it. get_connector then shows the next times and what to know about them. Runs start only while a server runs: a client's stdio server lives as long as the client.

Fields: minute, hour, day of month, month, day of week; with six, the second comes first. Lists "1,15", ranges "8-18", steps "*/15", names JAN and MON, "L" for the last, "#" for the nth weekday; @hourly, @daily, @weekly, @monthly, @yearly.`;

const rules = `**Zone.** \`timezone\` is an IANA name; without one \`scheduler.timezone\` of the config file holds, UTC unless set.

**Daylight saving.** A time that the spring change leaves out runs once, right after the gap. A time that comes twice in autumn runs once. Intervals such as */15 go by real time.

**Missed times.** After the server was off or the machine asleep, one run makes up for all (\`scheduler.catchUp\` "once"), or none does ("none"): never a burst.

**Overlap.** A time that comes while the connector's run is still going is skipped and stands in the history with its reason (\`scheduler.overlap\` "skip"), or waits for its end ("queue").

**Spread.** Connectors due at the same moment start within \`scheduler.spreadMs\`, each always with its own delay.

**Failures** do not stop a schedule: a run is tried again when its error is one that passes, and the next time still comes. A connector that keeps failing rests for a while (\`circuit_open\`).

How often: a run that finds nothing is cheap, but asks the source; half the age that you can bear is enough.`;

/** When connectors sync by themselves. */
export const cronGuide: GuideView = {
  topic: 'cron',
  title: 'Schedules: cron, time zones, daylight saving, missed times',
  text: [
    intro,
    scheduleExamples.map(({ schedule, means }) => `- \`${schedule}\`: ${means}`).join('\n'),
    rules,
  ].join('\n\n'),
};
