import { connectorTypes } from '../../connectors/index.ts';
import type { GuideView } from '../services.ts';
import { cronGuide } from './cron.ts';
import { incrementalGuide } from './incremental.ts';
import { securityGuide } from './security.ts';
import { troubleshootingGuide } from './troubleshooting.ts';

/** Every guide: those of connector types, and those that hold for all of them. */
export function guideViews(): readonly GuideView[] {
  const ofTypes = connectorTypes.flatMap(({ guide }) =>
    guide === undefined ? [] : [{ topic: guide.topic, title: guide.title, text: guide.text() }],
  );
  return [...ofTypes, incrementalGuide, cronGuide, troubleshootingGuide, securityGuide];
}
