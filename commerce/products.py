"""Products."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.messages.tutorial import ProductCount
from commerce.tables import Product


async def count(tx: AsyncSession) -> ProductCount:
    """Return the number of products, with or without variants and stock."""
    return ProductCount(count=(await tx.execute(select(func.count()).select_from(Product))).scalar_one())
