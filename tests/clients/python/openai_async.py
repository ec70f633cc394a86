"""Five concurrent calls over the asynchronous client."""

import asyncio

from openai import AsyncOpenAI


async def main() -> None:
    async with AsyncOpenAI() as client:
        answers = await asyncio.gather(
            *(
                client.chat.completions.create(
                    model="gpt-4o-mini",
                    messages=[{"role": "user", "content": f"Question {number}"}],
                )
                for number in range(5)
            )
        )
    print("answers", len(answers))


asyncio.run(main())
