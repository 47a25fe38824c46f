import type { Webhook } from 'standardwebhooks';
import { asMillraceError, MillraceError } from '../core/errors.ts';
import { backoffMs } from '../core/retry.ts';
import type { AlertStore, WaitingAlert } from '../store/store.ts';

/** Sends what waits in the outbox to the webhook, signed as Standard Webhooks says. */
export interface Deliveries {
  /** Sends those that are due, until one is not taken. */
  deliver(signal: AbortSignal): Promise<void>;
}

export interface DeliveryParts {
  readonly alerts: AlertStore;
  /** Where to and signed with what; asked each time, because a stored secret may have been replaced. */
  readonly target: () => Promise<Target>;
  readonly now: () => Date;
  readonly random: () => number;
  /** Hears what became of each attempt: never the address, which often is a credential itself. */
  readonly onAttempt: (attempt: Attempt) => void;
}

export interface Target {
  readonly url: string;
  /** `whsec_` and base64. */
  readonly secret: string;
}

export interface Attempt {
  readonly id: string;
  readonly attempt: number;
  readonly outcome: 'delivered' | 'postponed' | 'given up';
  readonly reason?: string;
}

const batch = 20;
const attemptMs = 10_000;
const backoff: readonly [number, number] = [5_000, 3_600_000];
/** After that the news is none; get_health has said all the while that nobody takes them. */
const giveUpMs = 3 * 24 * 3_600_000;

/** Over the store's outbox. At least once: an alert whose answer was lost comes again under the same id. */
export function createDeliveries({ alerts, target, now, random, onAttempt }: DeliveryParts): Deliveries {
  const postpone = async (alert: WaitingAlert, error: unknown): Promise<void> => {
    const reason = reasonOf(error);
    const attempt = alert.attempts + 1;
    if (now().getTime() - alert.at.getTime() > giveUpMs) {
      await alerts.remove(alert.id);
      onAttempt({ id: alert.id, attempt, outcome: 'given up', reason });
      return;
    }
    await alerts.postpone(alert.id, new Date(now().getTime() + backoffMs(attempt, backoff, random)), reason);
    onAttempt({ id: alert.id, attempt, outcome: 'postponed', reason });
  };

  return {
    async deliver(signal) {
      for (const alert of await alerts.due(batch)) {
        try {
          await send(alert, await target(), { at: now(), signal });
        } catch (error) {
          if (signal.aborted) return;
          await postpone(alert, error);
          return;
        }
        await alerts.remove(alert.id);
        onAttempt({ id: alert.id, attempt: alert.attempts + 1, outcome: 'delivered' });
      }
    },
  };
}

async function send(
  { id, body }: WaitingAlert,
  { url, secret }: Target,
  { at, signal }: { readonly at: Date; readonly signal: AbortSignal },
): Promise<void> {
  const headers = {
    'content-type': 'application/json',
    'user-agent': 'millrace',
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    'webhook-signature': (await signer(secret)).sign(id, at, body),
  };
  const limit = AbortSignal.any([signal, AbortSignal.timeout(attemptMs)]);
  // Not followed: what was signed for one receiver is nobody else's.
  const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal: limit });
  await response.body?.cancel();
  if (!response.ok) throw new NotTaken(`the receiver answered ${response.status}`);
}

/** The library is loaded with the first alert: most processes never send one. */
async function signer(secret: string): Promise<Webhook> {
  const { Webhook } = await import('standardwebhooks');
  try {
    return new Webhook(secret);
  } catch {
    throw new MillraceError('invalid_config', 'alerts.secret does not name a key of Standard Webhooks.', {
      hint: 'It is "whsec_" and base64 of 24 to 64 random bytes: `echo "whsec_$(openssl rand -base64 32)"`. Give the receiver the same.',
    });
  }
}

/** The receiver is there and does not take it. */
class NotTaken extends Error {}

/** Words of our own: what fetch says may quote the address. */
function reasonOf(error: unknown): string {
  if (error instanceof NotTaken) return error.message;
  if (error instanceof MillraceError) return `${error.code}: ${error.message} ${error.hint}`;
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return `the receiver did not answer within ${attemptMs / 1000} s`;
  const cause = error instanceof Error ? (error.cause as { readonly code?: unknown } | undefined) : undefined;
  if (typeof cause?.code === 'string') return `the receiver cannot be reached (${cause.code})`;
  return error instanceof TypeError ? 'the receiver cannot be reached' : asMillraceError(error).message;
}
