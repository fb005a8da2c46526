"""Asks many things at one time over one HTTP/2 connection."""

import asyncio

import httpx


async def main():
    async with httpx.AsyncClient(http2=True, http1=False) as client:
        asked = [client.post(f"https://api.example.com/v1/{number}", json={"n": number}) for number in range(20)]
        answers = await asyncio.gather(*asked)
        assert all(answer.status_code == 200 for answer in answers), answers
        print({answer.http_version for answer in answers}, len(answers))
        refused = await client.get("https://api.example.com/v2/other")
        print(refused.status_code, refused.json()["error"])


asyncio.run(main())
