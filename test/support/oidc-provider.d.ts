/** The little of oidc-provider that tests use; it brings no types. */
declare module 'oidc-provider' {
  import type { RequestListener } from 'node:http';

  interface Model {
    save(): Promise<string>;
  }
  interface Found {
    readonly isValid: boolean;
    readonly clientId: string;
    readonly scope?: string;
  }
  interface Finds {
    find(token: string): Promise<Found | undefined>;
  }

  export class Provider {
    constructor(issuer: string, configuration: Readonly<Record<string, unknown>>);
    callback(): RequestListener;
    on(event: string, listener: (...values: unknown[]) => void): void;
    readonly Client: { find(id: string): Promise<unknown> };
    readonly Grant: new (
      properties: object,
    ) => Model & { addOIDCScope(scope: string): void };
    readonly RefreshToken: new (
      properties: object,
    ) => Model;
    readonly AccessToken: Finds;
    readonly ClientCredentials: Finds;
  }
}
