import { Pool } from '../sql/pool.ts';
import type { Settings } from './config.ts';
import { Session, type SessionOptions } from './session.ts';

/** The sessions of one opened connector. */
export class SessionPool extends Pool<Session> {
  constructor(settings: Settings, options: SessionOptions) {
    super({
      min: settings.poolMin,
      max: settings.poolMax,
      open: (signal) => Session.open(settings, options, signal),
    });
  }
}
