/** What an answer means that the API's own way of speaking makes ambiguous: the stream's `responses`. */

import { MillraceError } from '../../core/errors.ts';
import type { ResponseRule } from '../../core/rest.ts';
import { plain } from '../sql/names.ts';
import type { StatusRule } from './http/client.ts';
import { expression, truthy } from './jmespath.ts';

/** The rules of one stream, ready to be asked. */
export interface Rules {
  /** Some rule looks into bodies that would otherwise be read as records: the page has to be held whole. */
  readonly lookInto: boolean;
  /** What the client does with a status, before anybody looks at a body. */
  onStatus(status: number): StatusRule | undefined;
  /** The first rule that fits; null when none does. `page` undefined: the body is none that can be looked at. */
  judge(status: number, page: unknown): ResponseRule | null;
}

/** Makes the rules ready. Throws `invalid_config` for a broken expression. */
export function createRules(responses: readonly ResponseRule[]): Rules {
  const rules = responses.map((rule) => ({
    rule,
    statuses: rule.status === undefined ? null : new Set([rule.status].flat()),
    when: rule.when === undefined ? null : expression(rule.when),
  }));
  const about = (status: number) => rules.filter(({ statuses }) => statuses === null || statuses.has(status));
  return {
    lookInto: rules.some(
      ({ when, statuses }) =>
        when !== null && (statuses === null || [...statuses].some((status) => status < 400)),
    ),
    onStatus(status) {
      for (const { rule, when, statuses } of about(status)) {
        if (when !== null) {
          // Bodies of errors are looked at only where a rule names their status.
          if (status < 400 || statuses !== null) return 'return';
          continue;
        }
        if (rule.do === 'retry' || rule.do === 'fail') return rule.do;
        return 'return';
      }
      return undefined;
    },
    judge(status, page) {
      const found = about(status).find(
        ({ when }) => when === null || (page !== undefined && truthy(when(page))),
      );
      return found?.rule ?? null;
    },
  };
}

/** The failure that a rule declared, in the API's own words where the rule says where they stand. */
export function ruledFailure(
  rule: ResponseRule,
  status: number,
  { page, clean }: { readonly page: unknown; readonly clean: (text: string) => string },
): MillraceError {
  const words = rule.message === undefined || page === undefined ? null : expression(rule.message)(page);
  const said =
    words === null ? '' : `: ${plain(clean(typeof words === 'string' ? words : JSON.stringify(words)), 300)}`;
  return new MillraceError(
    rule.do === 'retry' ? 'source_failed' : 'response_invalid',
    `The API answered with status ${status} and what the stream's rule${rule.when === undefined ? '' : ` "${plain(rule.when, 80)}"`} calls a failure${said}`,
    {
      hint: 'What it says is the API\'s own. If it is no failure, change "responses" of the stream or the connector.',
    },
  );
}
