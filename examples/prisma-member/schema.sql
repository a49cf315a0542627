-- What Prisma makes of
--
--   enum Role { OWNER MEMBER }
--   model Member {
--     id        String    @id @default(cuid())
--     clerkId   String    @unique
--     email     String    @unique
--     firstName String?
--     role      Role      @default(MEMBER)
--     createdAt DateTime  @default(now())
--     updatedAt DateTime  @updatedAt
--     deletedAt DateTime?
--   }
CREATE TYPE "Role" AS ENUM ('OWNER', 'MEMBER');

CREATE TABLE "Member" (
    "id" TEXT NOT NULL,
    "clerkId" TEXT NOT NULL,
    "email" TEXT NOT NULL,
    "firstName" TEXT,
    "role" "Role" NOT NULL DEFAULT 'MEMBER',
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "deletedAt" TIMESTAMP(3),

    CONSTRAINT "Member_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "Member_clerkId_key" ON "Member"("clerkId");
CREATE UNIQUE INDEX "Member_email_key" ON "Member"("email");
