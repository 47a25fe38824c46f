import type { KeptSecrets } from '../../connector.ts';
import type { Cleaner } from '../http/clean.ts';
import type { AuthConfig } from './config.ts';
import { createOauth, type TokenFetch } from './oauth.ts';

/** What is put on a request to say who sends it. */
export interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
}

export interface Authenticator {
  /** For the next request; obtains or refreshes a token first where that is due. */
  credentials(signal: AbortSignal): Promise<Credentials>;
  /** Called when the API refused these: true when there are others to try with. */
  renew(refused: Credentials, signal: AbortSignal): Promise<boolean>;
}

export interface AuthenticatorParts {
  readonly tokenFetch: TokenFetch;
  readonly secrets: KeptSecrets;
  readonly cleaner: Cleaner;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** The authenticator of a config. Whatever it puts on a request the cleaner knows. */
export function createAuthenticator(config: AuthConfig, parts: AuthenticatorParts): Authenticator {
  switch (config.type) {
    case 'none':
      return fixed({});
    case 'bearer':
      parts.cleaner.add(config.token);
      return fixed({ headers: { authorization: `Bearer ${config.token}` } });
    case 'api_key': {
      parts.cleaner.add(config.value);
      const named = { [config.name]: config.value };
      return fixed(config.in === 'header' ? { headers: named } : { query: named });
    }
    case 'basic': {
      const pair = `${config.username}:${config.password}`;
      // Many APIs take their key as the username, with an empty password.
      parts.cleaner.add(pair, config.password, config.username);
      return fixed({ headers: { authorization: `Basic ${Buffer.from(pair).toString('base64')}` } });
    }
    case 'headers':
      parts.cleaner.add(...Object.values(config.headers).flatMap((value) => [value, ...value.split(' ')]));
      return fixed({ headers: config.headers });
    case 'oauth2_client_credentials':
    case 'oauth2_refresh_token':
      return createOauth(config, parts);
    default:
      return config satisfies never;
  }
}

function fixed({ headers = {}, query = {} }: Partial<Credentials>): Authenticator {
  const credentials = { headers, query };
  return { credentials: async () => credentials, renew: async () => false };
}
