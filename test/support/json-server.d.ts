declare module 'json-server' {
  import type { RequestListener } from 'node:http';

  type App = RequestListener & { use(handler: unknown): void };

  const server: {
    create(): App;
    /** Lists by name; changes to the object are served at once. */
    router(data: Record<string, unknown[]>): unknown;
  };
  export default server;
}
