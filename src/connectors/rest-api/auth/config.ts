/** How requests say who sends them (contract §3), secrets in clear. */
export type AuthConfig =
  | { readonly type: 'none' }
  | { readonly type: 'bearer'; readonly token: string }
  | {
      readonly type: 'api_key';
      readonly name: string;
      readonly value: string;
      readonly in: 'header' | 'query';
    }
  | { readonly type: 'basic'; readonly username: string; readonly password: string }
  /** Whatever else an API asks for, as headers that are credentials. */
  | { readonly type: 'headers'; readonly headers: Readonly<Record<string, string>> }
  | ClientCredentials
  | RefreshToken;

/** A token for the program itself (RFC 6749, 4.4). */
export interface ClientCredentials {
  readonly type: 'oauth2_client_credentials';
  readonly token_url: string;
  readonly client_id: string;
  readonly client_secret: string;
  readonly scope?: string | undefined;
  readonly audience?: string | undefined;
  readonly client_auth?: ClientAuth | undefined;
}

/** A token on behalf of a person who agreed once (RFC 6749, 6). */
export interface RefreshToken {
  readonly type: 'oauth2_refresh_token';
  readonly token_url: string;
  readonly client_id: string;
  readonly client_secret?: string | undefined;
  readonly refresh_token: string;
  readonly scope?: string | undefined;
  readonly client_auth?: ClientAuth | undefined;
}

/** How a client proves itself: HTTP Basic, or fields of the form. Found out when it is not said. */
export type ClientAuth = 'basic' | 'post';
