import { MillraceError } from '../../core/errors.ts';
import { suggestion } from '../../core/nearest.ts';
import { fixed, type ResourceKind, uriOf } from './resource.ts';

export const guideResource: ResourceKind = {
  uri: 'millrace://guides/{topic}',
  name: 'guide',
  title: 'Guides',
  description:
    'How to do something, with examples: REST APIs, incremental loading, schedules, errors, security.',
  mimeType: 'text/markdown',
  rest: 'README.md says more.',
  completes: { topic: 'topic' },
  async list(services) {
    return services.connectors.guides().map(({ topic, title, text }) => ({
      uri: uriOf(guideResource, { topic }),
      name: `guide-${topic}`,
      title,
      size: Buffer.byteLength(text),
    }));
  },
  async read(services, { topic = '' }) {
    const guides = services.connectors.guides();
    const guide = guides.find((known) => known.topic === topic);
    if (guide !== undefined) return { text: guide.text, cache: fixed };
    throw new MillraceError('invalid_config', `There is no guide "${topic}".`, {
      hint: suggestion(
        topic,
        guides.map((known) => known.topic),
      ),
    });
  },
};
