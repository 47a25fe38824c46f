import * as oauth from 'oauth4webapi';
import { MillraceError } from '../../../core/errors.ts';
import type { AuthConfig } from './config.ts';

/** Whether the server does not know the client as it was named, so that nothing has been spent. */
export function isUnknownClient(error: unknown): boolean {
  if (error instanceof oauth.ResponseBodyError) return error.error === 'invalid_client';
  return error instanceof oauth.WWWAuthenticateChallengeError && error.status === 401;
}

export interface RefusalContext {
  /** The token URL as it may be shown. */
  readonly place: string;
  /** Masks credentials in what the server said. */
  readonly clean: (text: string) => string;
  readonly type: AuthConfig['type'];
}

/** What a token endpoint said, as our error. */
export function describeRefusal(error: unknown, { place, clean, type }: RefusalContext): MillraceError {
  if (error instanceof MillraceError) return error;
  if (error instanceof Error && error.name === 'TimeoutError') {
    return new MillraceError('timeout', `${place} gave no answer in time.`, {
      hint: 'The next run asks again. If it stays so, ask the makers of the API.',
    });
  }
  if (isUnknownClient(error)) {
    return new MillraceError('auth_failed', `${place} does not know this client: ${clean(said(error))}.`, {
      hint: 'Correct auth.client_id and auth.client_secret with `update_connector`.',
    });
  }
  if (error instanceof oauth.ResponseBodyError) {
    const known = HINTS[error.error];
    return new MillraceError(known?.code ?? 'auth_failed', `${place} gave no token: ${clean(said(error))}.`, {
      hint:
        known?.hint(type) ??
        'The description is the server\'s own; compare "auth" with what its documentation asks for.',
    });
  }
  return new MillraceError(
    'response_invalid',
    `${place} did not answer as a token endpoint does: ${clean(said(error))}.`,
    {
      hint: 'Check auth.token_url: it is the address that takes POST requests for tokens, not the page where people sign in.',
    },
  );
}

function said(error: unknown): string {
  if (error instanceof oauth.ResponseBodyError) {
    const { error_description: description } = error;
    return `${error.error}${description === undefined ? '' : ` (${description.slice(0, 300)})`}`;
  }
  return error instanceof Error ? error.message.slice(0, 300) : 'unknown';
}

interface Hint {
  readonly code: 'auth_failed' | 'permission_denied';
  readonly hint: (type: AuthConfig['type']) => string;
}

/** RFC 6749, 5.2. */
const HINTS: Readonly<Record<string, Hint>> = {
  invalid_grant: {
    code: 'auth_failed',
    hint: (type) =>
      type === 'oauth2_refresh_token'
        ? 'The refresh token has ended, was revoked, or somebody else has used it. A person has to sign in at the API again and give the new one as auth.refresh_token with `update_connector`.'
        : 'The server takes no client credentials for this client.',
  },
  unauthorized_client: {
    code: 'permission_denied',
    hint: () => 'Allow this kind of grant for the client where it was registered.',
  },
  invalid_scope: {
    code: 'permission_denied',
    hint: () => 'Correct auth.scope, or grant it to the client where it was registered.',
  },
  unsupported_grant_type: {
    code: 'auth_failed',
    hint: () =>
      'The server does not serve this kind of grant: see in its documentation which `auth.type` fits.',
  },
};
