import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { BREAKER_RULES } from './breaker.ts';
import { parseCron, SPREAD_MAX_MS } from './cron.ts';
import { MillraceError } from './errors.ts';

const milliseconds = (least: number, most: number) => z.number().int().min(least).max(most);

const timezone = z
  .string()
  .max(60)
  .superRefine(holds((zone) => parseCron('* * * * *', zone)));
const cronOrOff = z
  .string()
  .max(100)
  .superRefine(holds((text) => text === 'off' || parseCron(text, 'UTC')));
const hostRule = z.string().min(1).max(300);

/** The section `millrace` of the config file: every option with its default. */
export const configSchema = z.strictObject({
  dataDir: z
    .string()
    .min(1)
    .optional()
    .describe('Folder for what Millrace keeps; relative to the config file.'),
  runs: z
    .strictObject({
      concurrent: z.number().int().min(1).max(32).default(2).describe('Runs at one time.'),
      attempts: z
        .number()
        .int()
        .min(1)
        .max(20)
        .default(3)
        .describe('Attempts of a run before it has failed.'),
      backoffMs: z
        .tuple([milliseconds(1, 3_600_000), milliseconds(1, 86_400_000)])
        .refine(([first, most]) => first <= most, 'the first wait may not be above the longest')
        .default([1_000, 60_000])
        .describe('First and longest wait between attempts.'),
      timeoutMs: milliseconds(1_000, 604_800_000)
        .default(7_200_000)
        .describe('Longest duration of one attempt.'),
      keepDays: z
        .number()
        .int()
        .min(1)
        .max(36_500)
        .default(90)
        .describe('Days that ended runs stay in the history.'),
      keepRuns: z
        .number()
        .int()
        .min(1)
        .max(1_000_000)
        .default(10_000)
        .describe('Most runs of a connector that stay in the history.'),
    })
    .prefault({}),
  breaker: z
    .strictObject({
      failures: z
        .number()
        .int()
        .min(1)
        .max(1_000)
        .default(BREAKER_RULES.failures)
        .describe('Failed runs in a row that open the breaker.'),
      openMs: milliseconds(1, 86_400_000)
        .default(BREAKER_RULES.openMs)
        .describe('How long the schedule of that connector then rests.'),
    })
    .prefault({}),
  scheduler: z
    .strictObject({
      enabled: z.boolean().default(true).describe('Whether this process may start scheduled runs.'),
      timezone: timezone.default('UTC').describe('Of connectors that name none.'),
      healthCheck: cronOrOff.default('*/15 * * * *').describe('When each connector is checked, or `off`.'),
      catchUp: z
        .enum(['once', 'none'])
        .default('once')
        .describe('What becomes of times that passed while no server was running.'),
      overlap: z
        .enum(['skip', 'queue'])
        .default('skip')
        .describe('What becomes of a time that comes while a run of the connector is under way.'),
      spreadMs: milliseconds(0, SPREAD_MAX_MS)
        .default(10_000)
        .describe('Over how long the starts of one due time are spread, at most a tenth of the interval.'),
    })
    .prefault({}),
  alerts: z
    .strictObject({
      webhook: z
        .string()
        .min(1)
        .max(2_000)
        .nullable()
        .default(null)
        .describe('Where changes of health are told to: an address, or a reference to one.'),
      secret: z
        .string()
        .regex(
          /^\$\{[^{}]+\}$/,
          'a reference, e.g. "${env:MILLRACE_ALERT_SECRET}": the key itself has no place in this file',
        )
        .nullable()
        .default(null)
        .describe('Reference to the key that signs them.'),
      holdMs: milliseconds(1_000, 86_400_000)
        .default(60_000)
        .describe('How long a state has to hold before it is told.'),
    })
    .refine(({ webhook, secret }) => webhook === null || secret !== null, {
      path: ['secret'],
      message:
        'a webhook needs a key that signs: name it with a reference, e.g. "${env:MILLRACE_ALERT_SECRET}"',
    })
    .prefault({}),
  network: z
    .strictObject({
      allow: z
        .array(hostRule)
        .max(1_000)
        .default([])
        .describe('When set, the only hosts that connectors may reach.'),
      allowPrivateHttp: z
        .array(hostRule)
        .max(1_000)
        .default([])
        .describe('Private and loopback hosts that REST connectors may reach all the same.'),
    })
    .prefault({}),
  secrets: z
    .strictObject({
      env: z
        .array(z.string().min(1).max(200))
        .max(1_000)
        .default(['MILLRACE_*'])
        .describe('Environment variables that a reference may name.'),
      files: z
        .array(z.string().refine(isAbsolute, 'an absolute path'))
        .max(1_000)
        .default([])
        .describe('Files and folders that a reference may name.'),
      literals: z
        .enum(['accept', 'reject'])
        .default('accept')
        .describe('What happens to a credential given in clear.'),
    })
    .prefault({}),
  query: z
    .strictObject({
      timeoutMs: milliseconds(100, 600_000).default(10_000).describe('Longest duration of a query.'),
      maxRows: z.number().int().min(1).max(100_000).default(1_000).describe('Most rows of an answer.'),
      maxBytes: z
        .number()
        .int()
        .min(1_000)
        .max(10_000_000)
        .default(25_000)
        .describe('Most bytes of an answer.'),
    })
    .prefault({}),
  http: z
    .strictObject({
      host: z
        .string()
        .min(1)
        .max(300)
        .default('127.0.0.1')
        .describe('Address that `millrace serve` listens at.'),
      port: z.number().int().min(0).max(65_535).default(7717).describe('Its port; 0: any that is free.'),
      tokens: z
        .array(
          z.union([
            z.string().min(1).max(10_000),
            z.strictObject({
              name: z.string().min(1).max(60),
              token: z.string().min(1).max(10_000),
              scopes: z
                .array(z.enum(['read', 'operate', 'admin']))
                .min(1)
                .default(['read']),
            }),
          ]),
        )
        .max(1_000)
        .default([])
        .describe('Bearer tokens that are accepted, as references or as "sha256:…".'),
      oauth: z
        .strictObject({
          issuer: z.url().max(2_000),
          audience: z.url().max(2_000),
          jwksUrl: z.url().max(2_000),
        })
        .nullable()
        .default(null)
        .describe('Authorization server whose JWT access tokens are accepted.'),
      allowedHosts: z
        .array(z.string().min(1).max(300))
        .max(100)
        .default([])
        .describe('Names of this server that a Host header may have besides loopback.'),
      requestsPerSecond: z
        .number()
        .int()
        .min(1)
        .max(100_000)
        .default(1_000)
        .describe('Requests of one principal, over five seconds.'),
    })
    .prefault({}),
  connectors: z
    .array(z.record(z.string(), z.unknown()))
    .max(10_000)
    .default([])
    .describe('Connectors, as `register_connector` takes them.'),
});

/** What a parser of ours says, as the schema says it. */
function holds(parse: (text: string) => unknown): (text: string, context: z.RefinementCtx) => void {
  return (text, context) => {
    try {
      parse(text);
    } catch (error) {
      context.addIssue({
        code: 'custom',
        message: error instanceof MillraceError ? `${error.message} ${error.hint}` : String(error),
      });
    }
  };
}
